"""Boxes: formats and overlap."""

import torch
from torch import Tensor

GIOU_EPS = 1e-7  # as torchvision has it


def cxcywh_to_xyxy(boxes: Tensor) -> Tensor:
    """``[..., 4]`` centre and size to corners, in whatever unit they are."""
    centre, half = boxes[..., :2], 0.5 * boxes[..., 2:]
    return torch.cat([centre - half, centre + half], dim=-1)


def xyxy_to_cxcywh(boxes: Tensor) -> Tensor:
    """``[..., 4]`` corners to centre and size, in whatever unit they are."""
    lower, upper = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(lower + upper) / 2, upper - lower], dim=-1)


def paired_iou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """Intersection over union of each box with its partner, ``[B, 4]`` and ``[B, 4]`` -> ``[B]``; 0 for empty boxes."""
    overlap = torch.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:]) - torch.maximum(
        first_xyxy[:, :2], second_xyxy[:, :2]
    )
    intersection = overlap.clamp(min=0).prod(dim=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=-1) for boxes in (first_xyxy, second_xyxy)]
    union = areas[0] + areas[1] - intersection
    return torch.where(union > 0, intersection / union.clamp(min=1e-12), torch.zeros_like(union))


def paired_giou(first_xyxy: Tensor, second_xyxy: Tensor) -> Tensor:
    """GIoU (arXiv:1902.09630) of each box with its partner, ``[B, 4]`` and ``[B, 4]`` -> ``[B]`` in -1..1.

    The numbers of torchvision's ``generalized_box_iou_loss``, which selects boxes by a mask and so waits for the GPU.
    """
    inner = torch.minimum(first_xyxy[:, 2:], second_xyxy[:, 2:]) - torch.maximum(first_xyxy[:, :2], second_xyxy[:, :2])
    outer = torch.maximum(first_xyxy[:, 2:], second_xyxy[:, 2:]) - torch.minimum(first_xyxy[:, :2], second_xyxy[:, :2])
    first, second = first_xyxy[:, 2:] - first_xyxy[:, :2], second_xyxy[:, 2:] - second_xyxy[:, :2]
    overlap = torch.where((inner > 0).all(dim=-1), _area(inner), 0.0)
    union, hull = _area(first) + _area(second) - overlap, _area(outer)
    return overlap / (union + GIOU_EPS) - (hull - union) / (hull + GIOU_EPS)


def _area(sizes: Tensor) -> Tensor:
    return sizes[:, 0] * sizes[:, 1]
