"""Where the right candidate stands in a list of candidates, all others of the gallery behind them.

Shape letters: R rows (queries), C columns (the gallery), k candidates.
"""

import torch
from torch import Tensor

from x2vlm.evaluation.metrics.recall import NOT_SCORED, best_ranks


def ranks_from_candidates(scores: Tensor, candidates: Tensor, row_ids: Tensor, column_ids: Tensor) -> Tensor:
    """What :func:`~x2vlm.evaluation.metrics.recall.best_ranks` gives for whole rows, -100 where there is no candidate.

    The rows themselves, ``[R, C]``, are never made.

    Args:
        scores: ``[R, k]``.
        candidates: ``[R, k]`` long, columns; negative where there is none.
        row_ids: ``[R]`` identities.
        column_ids: ``[C]`` identities.

    Returns:
        ``[R]`` long, 0 for the first place.

    Raises:
        ValueError: If a score is not a number, or a row has no right column.
    """
    there = candidates >= 0
    if torch.isnan(scores[there]).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    last = _last_right(row_ids, column_ids)[:, None]  # [R, 1]
    right = there & (column_ids[candidates.clamp(min=0)] == row_ids[:, None])
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    last_best = torch.where(right & (scores == best), candidates, -1).amax(dim=1, keepdim=True)
    among = (there & ((scores > best) | ((scores == best) & (candidates > last_best)))).sum(dim=1)
    # No right one among them: it is behind all of them, and behind those of the others that have a larger number.
    others = len(column_ids) - 1 - last[:, 0] - (there & (candidates > last)).sum(dim=1)
    places = torch.where(right.any(dim=1), among, there.sum(dim=1) + others)
    for row in (there & (scores <= NOT_SCORED)).any(dim=1).nonzero().flatten().tolist():
        whole = torch.full((1, len(column_ids)), NOT_SCORED)
        whole[0, candidates[row, there[row]]] = scores[row, there[row]]
        places[row] = best_ranks(whole, row_ids[row : row + 1], column_ids)[0]
    return places


def _last_right(row_ids: Tensor, column_ids: Tensor) -> Tensor:
    """The largest right column of each row."""
    rising, order = column_ids.sort(stable=True)
    place = torch.searchsorted(rising, row_ids, right=True) - 1
    lost = (place < 0) | (rising[place.clamp(min=0)] != row_ids)
    if lost.any():
        raise ValueError(
            f"no candidate has the identity {row_ids[lost][0].item()} of a query: every query needs at least one "
            "right candidate."
        )
    return order[place]
