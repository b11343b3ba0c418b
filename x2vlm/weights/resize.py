"""Resize tensors for a model of another size: more or fewer patches, another number of frames."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from x2vlm.distributed import full_tensor
from x2vlm.weights.relative_positions import EXTRA_ROWS, resize_relative_table

Grid = tuple[int, int]
FRAMES = "frame_positions"
_TABLE = "relative_position_bias_table"


@dataclass(frozen=True)
class Fitted:
    """A tensor in its new shape.

    Attributes:
        value: The tensor.
        whole: Whether all of it comes from the file; False where a part keeps the model's initial values.
        fresh: Whether the parameter counts as new all the same (as published, for frame positions of another number).
    """

    value: Tensor
    whole: bool = True
    fresh: bool = False


def fit(
    name: str, value: Tensor, wanted: Tensor, grid: Grid | None = None, source_grid: Grid | None = None
) -> Fitted | None:
    """Resize a tensor to the shape of another one by the published rules; None where no rule applies.

    Relative tables: cubic spline over growing distances (see ``relative_positions``). Absolute tables: bicubic. Frame
    positions: those that both have are copied, the others stay as the model was made.

    Args:
        name: Our name, by which the rule is chosen.
        value: What the file has.
        wanted: What the model has now.
        grid: Rows and columns of the model's patches; square where not given.
        source_grid: Rows and columns of the file's patches; square where not given.
    """
    if value.shape == wanted.shape:
        return Fitted(value)
    if name.endswith(_TABLE):
        return _relative(value, wanted, grid, source_grid)
    if name.endswith(("positions.weight", "position_embedding.weight", "pos_embed")):
        return _absolute(value, wanted, grid, source_grid)
    if name.rpartition(".")[2] == FRAMES:
        return _frames(value, wanted)
    return None


def resize_absolute_table(table: Tensor, source: Grid, target: Grid) -> Tensor:
    """Positions of a patch grid for another grid, bicubic (as published).

    Args:
        table: ``[extra + h * w, D]``; the extra ones in front (a class token's) are copied.
        source: Rows and columns it was made for.
        target: Rows and columns that are wanted.

    Returns:
        ``[extra + rows * columns, D]``, of the same type.
    """
    extra = len(table) - source[0] * source[1]
    positions = table[extra:].reshape(1, *source, -1).permute(0, 3, 1, 2).float()
    resized = nn.functional.interpolate(positions, size=target, mode="bicubic", align_corners=False)
    return torch.cat([table[:extra], resized.permute(0, 2, 3, 1).reshape(target[0] * target[1], -1).to(table)])


def _relative(value: Tensor, wanted: Tensor, grid: Grid | None, source_grid: Grid | None) -> Fitted | None:
    if value.dim() != 2 or value.shape[1:] != wanted.shape[1:]:
        return None
    for extra in (EXTRA_ROWS, 0):  # BEiT's, Swin's
        source, target = _square_of_distances(len(value) - extra), _square_of_distances(len(wanted) - extra)
        if extra and grid is not None and _distances(grid) + extra == len(wanted):
            target = grid
        if source_grid is not None and _distances(source_grid) + extra == len(value):
            source = source_grid
        if source and target:
            return Fitted(resize_relative_table(value, source, target, extra))
    return None


def _absolute(value: Tensor, wanted: Tensor, grid: Grid | None, source_grid: Grid | None) -> Fitted | None:
    if value.dim() == wanted.dim() == 3 and len(value) == len(wanted) == 1:
        fitted = _absolute(value[0], wanted[0], grid, source_grid)
        return fitted and Fitted(fitted.value[None])
    if value.dim() != 2 or value.shape[1:] != wanted.shape[1:]:
        return None
    for extra in (1, 0):  # with a class token, without
        source, target = _square(len(value) - extra), _square(len(wanted) - extra)
        if grid is not None and grid[0] * grid[1] + extra == len(wanted):
            target = grid
        if source_grid is not None and source_grid[0] * source_grid[1] + extra == len(value):
            source = source_grid
        if source and target:
            return Fitted(resize_absolute_table(value, source, target))
    return None


def _frames(value: Tensor, wanted: Tensor) -> Fitted | None:
    if value.dim() != 4 or value.shape[2:] != wanted.shape[2:]:
        return None
    common = min(value.shape[1], wanted.shape[1])
    filled = full_tensor(wanted.detach()).clone()
    filled[:, :common] = value[:, :common]
    return Fitted(filled, whole=common == wanted.shape[1], fresh=True)


def _distances(grid: Grid) -> int:
    return (2 * grid[0] - 1) * (2 * grid[1] - 1)


def _square(count: int) -> Grid | None:
    side = math.isqrt(max(count, 0))
    return (side, side) if count > 0 and side * side == count else None


def _square_of_distances(count: int) -> Grid | None:
    side = _square(count)
    return ((side[0] + 1) // 2, (side[0] + 1) // 2) if side and side[0] % 2 else None


def grids_of(model: nn.Module) -> Mapping[str, Grid]:
    """Patch grids of a model's parts that have one, by the part's name."""
    grids = {name: getattr(part, "grid", None) for name, part in model.named_children()}
    return {name: tuple(grid) for name, grid in grids.items() if isinstance(grid, tuple) and len(grid) == 2}
