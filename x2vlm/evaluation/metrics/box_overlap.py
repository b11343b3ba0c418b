"""Overlap (IoU) of predicted and true boxes, and accuracies from it.

Shape letters: B boxes.
"""

import torch
from torch import Tensor

from x2vlm.boxes import paired_iou

CONVENTIONS = ("continuous", "inclusive")


def box_ious(
    predicted_xyxy: Tensor, true_xyxy: Tensor, convention: str = "continuous", size_px: Tensor | None = None
) -> Tensor:
    """IoU of each predicted box with its true box, ``[B]`` in 0..1.

    Args:
        predicted_xyxy: ``[B, 4]``, normalised to 0..1 of the image.
        true_xyxy: ``[B, 4]``, likewise.
        convention: ``"continuous"`` measures boxes as areas. ``"inclusive"`` follows the published evaluation: the
            intersection counts pixels from first to last, in an image of ``size_px``, and areas are width times height.
            They differ only for boxes that overlap by a pixel or less, whose IoU is 0 by the second.
        size_px: ``[B, 2]`` height and width of the images; needed by ``"inclusive"``.

    Raises:
        ValueError: If the convention is unknown, or sizes are needed and missing.
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
    overlap = (first < last).all(dim=-1)
    intersection = torch.where(overlap, (last - first + 1).prod(dim=-1), 0.0)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=-1) for boxes in (predicted, true)]
    return intersection / (areas[0] + areas[1] - intersection).clamp(min=1e-12)


def accuracy_at(ious: Tensor, threshold: float = 0.5) -> float:
    """Share of boxes whose IoU is at least ``threshold``, 0..1."""
    return (ious >= threshold).double().mean().item()


def mean_iou(ious: Tensor) -> float:
    """Arithmetic mean of the IoUs, 0..1."""
    return ious.double().mean().item()
