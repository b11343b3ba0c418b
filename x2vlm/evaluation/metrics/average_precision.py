"""Average precision of ranked candidates."""

import torch
from torch import Tensor


def average_precision(scores: Tensor, positive: Tensor) -> float:
    """Mean of the precision at each positive candidate: the area under precision over recall, without interpolation.

    Candidates with equal scores are counted together, so that their order does not matter.

    Args:
        scores: ``[C]``.
        positive: ``[C]`` bool, at least one True.

    Returns:
        0..1.

    Raises:
        ValueError: If no candidate is positive.
    """
    if not positive.any():
        raise ValueError("average precision needs at least one positive candidate.")
    order = scores.argsort(descending=True)
    sorted_scores, hits = scores[order], positive[order].double().cumsum(dim=0)
    is_last = torch.cat([sorted_scores[1:] != sorted_scores[:-1], sorted_scores.new_ones(1, dtype=torch.bool)])
    hits = hits[is_last]  # at the last candidate of each group of equal scores
    precision = hits / (torch.nonzero(is_last).flatten() + 1)
    gained = hits - torch.cat([hits.new_zeros(1), hits[:-1]])
    return (precision * gained).sum().item() / hits[-1].item()
