"""Ranks from candidates equal those of full rows, which are never computed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.evaluation.metrics.candidate_ranks import ranks_from_candidates
from x2vlm.evaluation.metrics.recall import best_ranks
from x2vlm.gallery.reranking.rerank_candidates import NOT_SCORED


@given(seed=st.integers(0, 10_000), k=st.integers(1, 7), floor=st.sampled_from([-2, -102]))
def test_ranks_equal_those_of_full_rows_with_ties_and_without_candidates(seed, k, floor):
    generator = torch.Generator().manual_seed(seed)
    column_ids = torch.randint(0, 4, (7,), generator=generator)
    row_ids = column_ids[torch.randint(0, 7, (5,), generator=generator)]
    candidates = torch.stack([torch.randperm(7, generator=generator)[:k] for _ in range(5)])
    scores = floor + torch.randint(0, 4, (5, k), generator=generator).float()  # many are equal, some are -100 or less
    candidates[torch.rand(5, k, generator=generator) < 0.2] = -1
    rows = torch.full((5, 7), NOT_SCORED)
    for row in range(5):
        mask = candidates[row] >= 0
        rows[row, candidates[row, mask]] = scores[row, mask]
    assert torch.equal(
        ranks_from_candidates(scores, candidates, row_ids, column_ids), best_ranks(rows, row_ids, column_ids)
    )


def test_scores_that_are_not_numbers_are_an_error():
    with pytest.raises(ValueError, match="NaN"):
        ranks_from_candidates(torch.tensor([[torch.nan]]), torch.tensor([[0]]), torch.tensor([1]), torch.tensor([1]))


@pytest.mark.parametrize("missing", [0, 2, 9])
def test_a_query_without_a_positive_is_named(missing):
    with pytest.raises(ValueError, match=f"identity {missing} of a query"):
        ranks_from_candidates(torch.zeros(1, 1), torch.tensor([[0]]), torch.tensor([missing]), torch.tensor([1, 3]))
