"""The patches that a box touches: the mask of a region."""

import torch
from torch import Tensor


def boxes_to_patch_mask(boxes_xyxy: Tensor, grid: tuple[int, int]) -> Tensor:
    """Mark the patches each box touches (X2-VLM, arXiv:2211.12402v1, Sec. 3.2, "Visual Concept Representation").

    Args:
        boxes_xyxy: ``[R, 4]``, normalised to 0..1 of the model's input image, ``x1 >= x0`` and ``y1 >= y0``.
        grid: Patch rows and columns, e.g. ``(14, 14)``.

    Returns:
        ``[R, rows * cols]`` bool in row-major order; every box owns at least one patch, however small it is.
    """
    rows, cols = grid
    touched_cols = _touched(boxes_xyxy[:, 0], boxes_xyxy[:, 2], cols)  # [R, cols]
    touched_rows = _touched(boxes_xyxy[:, 1], boxes_xyxy[:, 3], rows)  # [R, rows]
    return (touched_rows[:, :, None] & touched_cols[:, None, :]).flatten(1)


def _touched(start: Tensor, stop: Tensor, count: int) -> Tensor:
    """Cells of ``0..1`` cut in ``count`` that the interval touches, ``[R, count]``; a shared edge does not touch."""
    slack = 1e-4  # of a cell: normalising a pixel edge and scaling it back may miss the edge by a rounding
    first = (start * count + slack).floor().clamp(0, count - 1)
    last = torch.maximum((stop * count - slack).ceil(), first + 1)
    cells = torch.arange(count, device=start.device)
    return (cells >= first[:, None]) & (cells < last[:, None])
