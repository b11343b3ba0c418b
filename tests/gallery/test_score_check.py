"""NaN is refused; infinite values are too, on request."""

import pytest
import torch

from x2vlm.gallery.score_check import check_not_nan


def test_nan_is_refused_with_the_name_of_the_values():
    with pytest.raises(ValueError, match=r"some features are not a number \(NaN\): the model has diverged"):
        check_not_nan(torch.tensor([0.0, torch.nan]), "features")


def test_infinite_scores_pass_unless_they_are_not_allowed():
    infinite = torch.tensor([0.0, -torch.inf])
    check_not_nan(infinite)
    with pytest.raises(ValueError, match="not a number"):
        check_not_nan(infinite, allow_infinity=False)
