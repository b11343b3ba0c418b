"""Ranks and recall at K of retrieval, from score matrices, with chance levels. All are fractions of 1 unless stated.

Shape letters: R rows (queries), C columns (candidates), T texts.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from x2vlm.gallery.score_candidates import NOT_SCORED
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


def rank_candidates(scores: Tensor) -> Tensor:
    """Candidates of each query in the order of :func:`best_ranks`, best first: ``[R, C]`` -> ``[R, C]`` long.

    Of equal scores the larger index comes first: an ascending stable sort, reversed.
    """
    return scores.argsort(dim=1, stable=True).flip(1)


def second_stage(similarity: Tensor, logits: Tensor, k: int) -> Tensor:
    """Scores after re-ranking: the logits of the ``k`` most similar candidates of each query, -100 for all others.

    Args:
        similarity: ``[R, C]`` cosines, which select the candidates and are not added.
        logits: ``[R, C]`` matching logits; only those of the selected are used.
        k: How many to select; all if there are fewer.

    Returns:
        ``[R, C]``.
    """
    selected = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return torch.full_like(logits, NOT_SCORED).scatter_(1, selected, logits.gather(1, selected))


def retrieval_recalls(
    context_scores: Tensor, text_scores: Tensor, context_ids: Tensor, text_ids: Tensor, at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """The published metrics of retrieval, from score matrices.

    Args:
        context_scores: ``[C, T]``, of each text for each context.
        text_scores: ``[T, C]``, of each context for each text.
        context_ids: ``[C]`` identities.
        text_ids: ``[T]`` identities; a text and a context are a positive pair where the two are equal.
        at: The K of the recalls.

    Returns:
        Percentages: ``i2t_r1 ... t2i_r10`` and their mean ``r_mean``.
    """
    i2t = best_ranks(context_scores, context_ids, text_ids)
    t2i = best_ranks(text_scores, text_ids, context_ids)
    return recalls_from_ranks(i2t, t2i, at)


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
