"""Ranks and recall at K of retrieval, from score matrices, with chance levels. All are fractions of 1 unless stated.

Shape letters: R rows (queries), C columns (candidates), T texts.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from x2vlm.gallery.score_check import check_not_nan


def best_ranks(scores: Tensor, row_ids: Tensor, column_ids: Tensor) -> Tensor:
    """Rank of the best positive candidate of each query, from 0.

    Candidates are ranked by descending score; of equal scores the larger index comes first, as in the published
    evaluation.

    Args:
        scores: ``[R, C]``.
        row_ids: ``[R]`` identities of the queries.
        column_ids: ``[C]`` identities of the candidates; a candidate is positive where the two are equal.

    Returns:
        ``[R]`` long.

    Raises:
        ValueError: If a score is not a number, or a query has no positive candidate.
    """
    check_not_nan(scores)
    positive = row_ids[:, None] == column_ids[None, :]  # [R, C]
    if not positive.any(dim=1).all():
        raise ValueError(no_positive(row_ids[~positive.any(dim=1)][0].item()))
    index = torch.arange(scores.shape[1], device=scores.device)
    best = scores.masked_fill(~positive, -torch.inf).amax(dim=1, keepdim=True)  # [R, 1]
    last_best = torch.where(positive & (scores == best), index, -1).amax(dim=1, keepdim=True)  # [R, 1]
    return ((scores > best) | ((scores == best) & (index > last_best))).sum(dim=1)


def no_positive(identity: int) -> str:
    """The message about a query without a positive candidate."""
    return f"no candidate has the identity {identity} of a query: every query needs at least one positive candidate."


def recalls_from_ranks(i2t: Tensor, t2i: Tensor, at: Sequence[int]) -> dict[str, float]:
    """Recalls of both directions in percent, and their mean, from the ranks of :func:`best_ranks`."""
    ranks_by_direction = {"i2t": i2t, "t2i": t2i}
    recalls = {f"{name}_r{k}": 100 * recall_at(ranks, k) for name, ranks in ranks_by_direction.items() for k in at}
    return recalls | {"r_mean": r_mean(list(recalls.values()))}


def recall_at(ranks: Tensor, k: int) -> float:
    """Share of queries with a positive among the first ``k``, from the ranks of :func:`best_ranks`."""
    return (ranks < k).double().mean().item()


def r_mean(recalls: Sequence[float]) -> float:
    """Arithmetic mean of the recalls of both directions, the single number that retrieval papers compare."""
    return sum(recalls) / len(recalls)


def chance_recall(row_ids: Tensor, column_ids: Tensor, k: int) -> float:
    """Expected recall at ``k`` of a random ranking, given the number of positives of each query.

    A query with ``m`` positives among ``C`` misses them all with probability ``binom(C - k, m) / binom(C, m)``: none
    of them is among the first ``k``.
    """
    unique_ids, inverse = torch.unique(row_ids, return_inverse=True)
    positives = (unique_ids[:, None] == column_ids[None, :]).sum(dim=1).tolist()
    hit = torch.tensor([_chance_of_a_hit(m, len(column_ids), k) for m in positives], dtype=torch.double)
    return hit[inverse.cpu()].mean().item()


def _chance_of_a_hit(positives: int, candidates: int, k: int) -> float:
    return 1.0 - prod(max(0, candidates - k - i) / (candidates - i) for i in range(positives))
