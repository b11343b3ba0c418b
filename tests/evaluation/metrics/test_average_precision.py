"""Average precision, against values computed by hand."""

import pytest
import torch

from x2vlm.evaluation.metrics.average_precision import average_precision


def test_it_is_the_mean_of_the_precision_at_each_positive():
    scores, positive = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False])
    assert average_precision(scores, positive) == pytest.approx((1 / 1 + 2 / 3) / 2)


def test_the_order_of_equal_scores_does_not_matter():
    scores = torch.tensor([0.5, 0.5, 0.5, 0.1])
    positives = torch.tensor([[True, False, False, True], [False, False, True, True]])
    assert [average_precision(scores, positive) for positive in positives] == [pytest.approx((1 / 3 + 2 / 4) / 2)] * 2


def test_without_a_positive_it_is_undefined():
    with pytest.raises(ValueError, match="at least one positive"):
        average_precision(torch.zeros(2), torch.zeros(2, dtype=torch.bool))
