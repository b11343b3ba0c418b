"""Numbers from scores: recall at K, overlap of boxes, and what guessing would give. All are fractions of 1.

Shape letters: R rows (queries), C columns (candidates), B boxes.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from x2vlm.boxes import paired_iou

NOT_SCORED = -100.0  # what the published evaluation gives to candidates outside the first k


def best_ranks(scores: Tensor, row_ids: Tensor, column_ids: Tensor) -> Tensor:
    """Rank of the best right candidate of each row, 0 for the first place.

    Candidates are ranked by descending score; of two with the same score the one with the larger index comes first, as
    in the published evaluation.

    Args:
        scores: ``[R, C]``.
        row_ids: ``[R]`` identities of the queries.
        column_ids: ``[C]`` identities of the candidates; a candidate is right where the two are equal.

    Returns:
        ``[R]`` long.

    Raises:
        ValueError: If a score is not a number, or a row has no right candidate.
    """
    if torch.isnan(scores).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    right = row_ids[:, None] == column_ids[None, :]  # [R, C]
    if not right.any(dim=1).all():
        lost = row_ids[~right.any(dim=1)][0].item()
        raise ValueError(
            f"no candidate has the identity {lost} of a query: every query needs at least one right candidate."
        )
    index = torch.arange(scores.shape[1], device=scores.device)
    best = scores.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)  # [R, 1]
    last_best = torch.where(right & (scores == best), index, -1).amax(dim=1, keepdim=True)  # [R, 1]
    return ((scores > best) | ((scores == best) & (index > last_best))).sum(dim=1)


def ranked(scores: Tensor) -> Tensor:
    """Candidates of each row in the order that :func:`best_ranks` counts, best first: ``[R, C]`` -> ``[R, C]`` long.

    Of two with the same score the one with the larger index comes first: a rising order, read backwards.
    """
    return scores.argsort(dim=1, stable=True).flip(1)


def second_stage(similarity: Tensor, logits: Tensor, k: int) -> Tensor:
    """Scores after the second stage: those of the ``k`` most similar candidates of each row, -100 for all others.

    Args:
        similarity: ``[R, C]`` cosines, which choose the candidates and are not added.
        logits: ``[R, C]`` matching logits; only those of the chosen are read.
        k: How many to choose; all if there are fewer.

    Returns:
        ``[R, C]``.
    """
    chosen = similarity.topk(min(k, similarity.shape[1]), dim=1).indices
    return torch.full_like(logits, NOT_SCORED).scatter_(1, chosen, logits.gather(1, chosen))


def retrieval_recalls(
    context_scores: Tensor, text_scores: Tensor, context_ids: Tensor, text_ids: Tensor, at: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """The published figures of retrieval, from scores that are given.

    Args:
        context_scores: ``[C, T]``, of each text for each context.
        text_scores: ``[T, C]``, of each context for each text.
        context_ids: ``[C]`` identities.
        text_ids: ``[T]`` identities; a text is right for a context where the two are equal.
        at: The K of the recalls.

    Returns:
        Percentages: ``i2t_r1 ... t2i_r10`` and their mean ``r_mean``.
    """
    i2t = best_ranks(context_scores, context_ids, text_ids)
    t2i = best_ranks(text_scores, text_ids, context_ids)
    return recalls_of_ranks(i2t, t2i, at)


def recalls_of_ranks(i2t: Tensor, t2i: Tensor, at: Sequence[int]) -> dict[str, float]:
    """Recalls in percent, both ways, and their mean, from the ranks of :func:`best_ranks`."""
    both = {"i2t": i2t, "t2i": t2i}
    recalls = {f"{way}_r{k}": 100 * recall_at(ranks, k) for way, ranks in both.items() for k in at}
    return recalls | {"r_mean": r_mean(list(recalls.values()))}


def recall_at(ranks: Tensor, k: int) -> float:
    """Share of queries whose best right candidate is among the first ``k``, from the ranks of :func:`best_ranks`."""
    return (ranks < k).double().mean().item()


def r_mean(recalls: Sequence[float]) -> float:
    """Plain mean of the recalls of both directions, the single number retrieval papers compare."""
    return sum(recalls) / len(recalls)


def chance_recall(row_ids: Tensor, column_ids: Tensor, k: int) -> float:
    """Expected recall at ``k`` of a random ranking, with as many right candidates for each query as there really are.

    A query with ``m`` right ones among ``C`` misses them all with probability ``binom(C - k, m) / binom(C, m)``: none
    of them has one of the first ``k`` places.
    """
    found, inverse = torch.unique(row_ids, return_inverse=True)
    right = (found[:, None] == column_ids[None, :]).sum(dim=1).tolist()
    hit = torch.tensor([_chance_of_a_hit(m, len(column_ids), k) for m in right], dtype=torch.double)
    return hit[inverse.cpu()].mean().item()


def average_precision(scores: Tensor, right: Tensor) -> float:
    """Precision at each right candidate, averaged: the area under precision over recall, without interpolation.

    Candidates with equal scores are taken together, so that their order does not matter.

    Args:
        scores: ``[C]``.
        right: ``[C]`` bool, at least one True.

    Raises:
        ValueError: If nothing is right.
    """
    if not right.any():
        raise ValueError("average precision needs at least one right candidate.")
    order = scores.argsort(descending=True)
    ranked, hits = scores[order], right[order].double().cumsum(dim=0)
    last = torch.cat([ranked[1:] != ranked[:-1], ranked.new_ones(1, dtype=torch.bool)])  # of each group of equals
    found = hits[last]
    precision = found / (torch.nonzero(last).flatten() + 1)
    gained = found - torch.cat([found.new_zeros(1), found[:-1]])
    return (precision * gained).sum().item() / hits[-1].item()


def box_ious(
    predicted_xyxy: Tensor, true_xyxy: Tensor, convention: str = "continuous", size_px: Tensor | None = None
) -> Tensor:
    """Overlap of each predicted box with the true one, ``[B]`` in 0..1.

    Args:
        predicted_xyxy: ``[B, 4]``, normalised to 0..1 of the image.
        true_xyxy: ``[B, 4]``, the same.
        convention: ``"continuous"`` measures boxes as areas. ``"inclusive"`` follows the published evaluation: the
            intersection counts pixels from first to last, in an image of ``size_px``, and areas are width times height.
            The two agree but for boxes that overlap by a pixel or less, which do not overlap at all by the second.
        size_px: ``[B, 2]`` height and width of the images; needed by ``"inclusive"``.

    Raises:
        ValueError: If the convention is unknown, or sizes are needed and not given.
    """
    if convention == "continuous":
        return paired_iou(predicted_xyxy, true_xyxy)
    if convention != "inclusive":
        raise ValueError(f"convention is {convention!r}; it is 'continuous' or 'inclusive'.")
    if size_px is None:
        raise ValueError("convention 'inclusive' counts pixels: give size_px, the height and width of the images.")
    scale = size_px.flip(-1).repeat(1, 2).to(predicted_xyxy)  # [B, 4]: W, H, W, H
    predicted, true = predicted_xyxy * scale, true_xyxy * scale
    first = torch.maximum(predicted[:, :2], true[:, :2])
    last = torch.minimum(predicted[:, 2:], true[:, 2:]) - 1  # the last pixel inside
    inside = (first < last).all(dim=-1)
    intersection = torch.where(inside, (last - first + 1).prod(dim=-1), 0.0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=-1) for boxes in (predicted, true)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)


def accuracy_at(ious: Tensor, threshold: float = 0.5) -> float:
    """Share of boxes that overlap their true box by at least ``threshold``."""
    return (ious >= threshold).double().mean().item()


def mean_iou(ious: Tensor) -> float:
    """Plain mean of the overlaps."""
    return ious.double().mean().item()


def _chance_of_a_hit(right: int, candidates: int, k: int) -> float:
    return 1.0 - prod(max(0, candidates - k - i) / (candidates - i) for i in range(right))
