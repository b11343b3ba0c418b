"""The true caption must score higher than every wrong one."""

import pytest
import torch

from x2vlm.evaluation.tasks.hard_negative_accuracy import HardNegativeMetric, Judged, first_is_highest


def test_an_equal_score_is_not_higher():
    assert first_is_highest(torch.tensor([2.0, 1.0, 1.0, 1.0, 3.0, 1.0, 4.0]), [2, 2, 3]) == [True, False, False]


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="not a number"):
        first_is_highest(torch.tensor([float("nan"), 0.0]), [2])


def test_numbers_are_given_for_each_category_and_their_plain_mean():
    metric = HardNegativeMetric(scorer="itc")
    judged = [Judged({"itc": right}, 2, (kind,)) for right, kind in ((True, "add"), (True, "add"), (False, "swap"))]
    found = metric._numbers(judged)
    assert found["itc_accuracy"] == pytest.approx(200 / 3)
    assert (found["itc_accuracy_add"], found["itc_accuracy_swap"]) == (100, 0)
    assert (found["itc_accuracy_mean_over_category"], found["chance_accuracy"]) == (50, 50)


def test_rare_categories_are_left_out_of_the_mean():
    metric = HardNegativeMetric(scorer="itc", least=2)
    judged = [Judged({"itc": right}, 5, (kind,)) for right, kind in ((True, "add"), (True, "add"), (False, "swap"))]
    assert metric._numbers(judged)["itc_accuracy_mean_over_category"] == 100
    assert metric._numbers(judged)["chance_accuracy"] == pytest.approx(20)
