"""F1 and correlations against their definitions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.evaluation.metrics.agreement import f1, matthews, pearson, spearman


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    predicted, true = torch.tensor([1, 1, 1, 0, 0]), torch.tensor([1, 0, 1, 1, 0])
    precision, recall = 2 / 3, 2 / 3
    assert f1(predicted, true) == pytest.approx(2 * precision * recall / (precision + recall))
    assert f1(predicted, true, positive=0) == pytest.approx(2 * 0.5 * 0.5 / (0.5 + 0.5))
    assert f1(torch.zeros(2), torch.zeros(2)) == 0


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30))
def test_matthews_of_two_classes_equals_the_formula_of_the_four_counts(pairs):
    predicted, true = torch.tensor(pairs).unbind(1)
    tp, tn, fp, fn = (pairs.count(pair) for pair in ((1, 1), (0, 0), (1, 0), (0, 1)))
    spread = math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert matthews(predicted, true) == pytest.approx((tp * tn - fp * fn) / spread if spread else 0, abs=1e-9)


def test_matthews_of_three_classes_equals_the_general_formula():
    predicted, true = torch.tensor([0, 1, 2, 2, 1, 0, 2]), torch.tensor([0, 2, 2, 1, 1, 0, 0])
    correct, count = (predicted == true).sum().item(), 7
    p, t = (torch.bincount(x, minlength=3).double() for x in (predicted, true))
    top = correct * count - (p * t).sum()
    expected = top / ((count**2 - (p * p).sum()).sqrt() * (count**2 - (t * t).sum()).sqrt())
    assert matthews(predicted, true) == pytest.approx(expected.item())


def test_pearson_is_the_covariance_over_the_deviations():
    predicted, true = torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 2.0])
    both = torch.stack([predicted, true])
    assert pearson(predicted, true) == pytest.approx(torch.corrcoef(both)[0, 1].item())
    assert pearson(predicted, torch.ones(3)) == 0


def test_spearman_is_one_for_any_increasing_function_and_shares_ranks_of_ties():
    true = torch.tensor([0.1, 0.5, 2.0, 3.0])
    assert spearman(true.exp(), true) == pytest.approx(1)
    assert spearman(-true, true) == pytest.approx(-1)
    # Ranks 1.5, 1.5, 3, 4 against 1, 2, 3, 4: deviations from 2.5 give 4.5 over sqrt(4.5 * 5).
    assert spearman(torch.tensor([7.0, 7.0, 8.0, 9.0]), true) == pytest.approx(4.5 / math.sqrt(4.5 * 5))
