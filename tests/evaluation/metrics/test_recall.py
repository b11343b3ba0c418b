"""Ranks, recalls and chance levels, against slow reference implementations."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from x2vlm.evaluation.metrics.recall import (
    best_ranks,
    chance_recall,
    r_mean,
    recall_at,
    recalls_from_ranks,
)


def recalls(i2t, t2i, context_ids, text_ids, at=(1, 5, 10)):
    return recalls_from_ranks(best_ranks(i2t, context_ids, text_ids), best_ranks(t2i, text_ids, context_ids), at)


def slow_ranks(scores, row_ids, column_ids):
    """Sort each row as the published evaluation does, and search it from the start."""
    order = np.argsort(scores.numpy(), axis=1, kind="stable")[:, ::-1]
    return [next(r for r, c in enumerate(row) if column_ids[c] == i) for row, i in zip(order, row_ids, strict=True)]


@settings(max_examples=50, deadline=None)
@given(data=st.data(), rows=st.integers(1, 5), columns=st.integers(3, 8))
def test_ranks_equal_a_full_sort_even_with_ties_and_several_positives(data, rows, columns):
    values = data.draw(st.lists(st.integers(0, 3), min_size=rows * columns, max_size=rows * columns))
    ids = data.draw(st.lists(st.integers(0, 2), min_size=columns - 3, max_size=columns - 3))
    scores = torch.tensor(values).float().view(rows, columns)
    column_ids, row_ids = torch.tensor([0, 1, 2, *ids]), torch.arange(rows) % 3
    assert best_ranks(scores, row_ids, column_ids).tolist() == slow_ranks(scores, row_ids, column_ids)


def test_published_recalls_from_given_scores():
    # Two images, three texts: texts 0 and 1 belong to image 0, text 2 to image 1.
    i2t = torch.tensor([[-100.0, 2.0, 3.0], [1.0, 5.0, -100.0]])
    t2i = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-100.0, 2.0]])
    found = recalls(i2t, t2i, torch.tensor([10, 11]), torch.tensor([10, 10, 11]), at=(1, 2))
    # Image 0 ranks text 1 second, image 1 ranks text 2 last; texts 0 and 2 rank their image first, text 1 second.
    assert found == pytest.approx(
        {"i2t_r1": 0, "i2t_r2": 50, "t2i_r1": 200 / 3, "t2i_r2": 100, "r_mean": (0 + 50 + 200 / 3 + 100) / 4}
    )


def test_shifting_whole_rows_as_the_published_sum_over_processes_does_changes_nothing():
    scores, ids = torch.randn(5, 5), torch.arange(5)
    shifted = scores - 100 * torch.tensor([0.0, 1, 1, 7, 7])[:, None]
    assert recalls(scores, scores, ids, ids) == recalls(shifted, shifted, ids, ids)


def test_of_two_equal_scores_the_larger_index_comes_first():
    assert best_ranks(torch.zeros(2, 2), torch.tensor([0, 1]), torch.tensor([0, 1])).tolist() == [1, 0]


def test_constant_scores_have_chance_recall():
    ids = torch.arange(10)
    assert recall_at(best_ranks(torch.zeros(10, 10), ids, ids), 1) == pytest.approx(0.1)


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        best_ranks(torch.tensor([[float("nan"), 1.0]]), torch.tensor([0]), torch.tensor([0, 1]))


def test_a_query_without_a_positive_is_refused_and_named():
    with pytest.raises(ValueError, match="identity 7"):
        best_ranks(torch.zeros(1, 2), torch.tensor([7]), torch.tensor([0, 1]))


def test_recall_is_the_share_of_ranks_below_k():
    ranks = torch.tensor([0, 1, 4, 10])
    assert [recall_at(ranks, k) for k in (1, 5, 10)] == [0.25, 0.75, 0.75]


def test_r_mean_is_the_arithmetic_mean():
    assert r_mean([0.2, 0.4, 0.6]) == pytest.approx(0.4)


@pytest.mark.parametrize("k", [1, 2, 3, 10])
def test_chance_equals_the_average_over_all_orders(k):
    row_ids, column_ids = torch.tensor([0, 1]), torch.tensor([0, 0, 1, 2, 2])
    hits = [
        any(order[c] < k for c in range(5) if column_ids[c] == i)
        for order in itertools.permutations(range(5))
        for i in row_ids
    ]
    assert chance_recall(row_ids, column_ids, k) == pytest.approx(np.mean(hits))


def test_chance_among_distinct_pairs_is_k_over_their_number():
    ids = torch.arange(256)
    assert chance_recall(ids, ids, 1) == pytest.approx(1 / 256)
    assert chance_recall(ids, ids, 10) == pytest.approx(10 / 256)
