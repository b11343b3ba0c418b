"""Means in percent, over all examples and by group."""

from x2vlm.evaluation.metrics.percentages import percent, percent_by_group


def test_each_group_has_its_own_mean_and_examples_without_a_group_are_left_out():
    assert percent([True, False, False, True]) == 50
    assert percent_by_group([True, False, False, True], ["b", "b", None, "a"]) == {"a": 100, "b": 50}


def test_groups_are_in_the_order_of_their_names():
    assert list(percent_by_group([1, 1, 1], [10, 9, "a"])) == [10, 9, "a"]
