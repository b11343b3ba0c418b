"""Sum of losses."""

import pytest
import torch

from x2vlm.engine.total_loss import sum_of_losses


def test_only_what_is_called_a_loss_is_summed():
    assert sum_of_losses({"loss_a": torch.tensor(2.0), "loss_b": torch.tensor(3.0), "hits": torch.tensor(9.0)}) == 5
    with pytest.raises(ValueError, match="the objectives returned no loss, only: hits"):
        sum_of_losses({"hits": torch.tensor(1.0)})
