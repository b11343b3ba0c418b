"""Rank of the best positive from a list of candidates, with the rest of the gallery behind them.

Shape letters: R queries, C gallery size, k candidates.
"""

import torch
from torch import Tensor

from x2vlm.evaluation.metrics.recall import best_ranks, no_positive
from x2vlm.gallery.reranking.rerank_candidates import NOT_SCORED
from x2vlm.gallery.score_check import check_not_nan


def ranks_from_candidates(scores: Tensor, candidates: Tensor, row_ids: Tensor, column_ids: Tensor) -> Tensor:
    """Ranks equal to those of :func:`~x2vlm.evaluation.metrics.recall.best_ranks` on full rows, -100 where not scored.

    The full rows, ``[R, C]``, are never computed.

    Args:
        scores: ``[R, k]``.
        candidates: ``[R, k]`` long, indices of the gallery; negative where there is none.
        row_ids: ``[R]`` identities of the queries.
        column_ids: ``[C]`` identities of the gallery.

    Returns:
        ``[R]`` long, from 0.

    Raises:
        ValueError: If a score is not a number, or a query has no positive in the gallery.
    """
    mask = candidates >= 0
    check_not_nan(scores[mask])
    last = _last_positive(row_ids, column_ids)[:, None]  # [R, 1]
    positive = mask & (column_ids[candidates.clamp(min=0)] == row_ids[:, None])
    best = scores.masked_fill(~positive, -torch.inf).amax(dim=1, keepdim=True)
    last_best = torch.where(positive & (scores == best), candidates, -1).amax(dim=1, keepdim=True)
    among = (mask & ((scores > best) | ((scores == best) & (candidates > last_best)))).sum(dim=1)
    # Without a positive candidate, the positive is behind all candidates and behind the others of larger index.
    others = len(column_ids) - 1 - last[:, 0] - (mask & (candidates > last)).sum(dim=1)
    ranks = torch.where(positive.any(dim=1), among, mask.sum(dim=1) + others)
    for row in (mask & (scores <= NOT_SCORED)).any(dim=1).nonzero().flatten().tolist():
        full_row = torch.full((1, len(column_ids)), NOT_SCORED)
        full_row[0, candidates[row, mask[row]]] = scores[row, mask[row]]
        ranks[row] = best_ranks(full_row, row_ids[row : row + 1], column_ids)[0]
    return ranks


def _last_positive(row_ids: Tensor, column_ids: Tensor) -> Tensor:
    """The largest index of a positive of each query."""
    sorted_ids, order = column_ids.sort(stable=True)
    position = torch.searchsorted(sorted_ids, row_ids, right=True) - 1
    missing = (position < 0) | (sorted_ids[position.clamp(min=0)] != row_ids)
    if missing.any():
        raise ValueError(no_positive(row_ids[missing][0].item()))
    return order[position]
