"""Relative positions for another image size, as the published release resizes them."""

import numpy as np
import torch
from torch import Tensor

EXTRA_ROWS = 3  # class to patch, patch to class, class to class: no distances, copied as they are


def resize_relative_table(
    table: Tensor, source: tuple[int, int], target: tuple[int, int], extra_rows: int = EXTRA_ROWS
) -> Tensor:
    """Resize a table of relative position biases from one patch grid to another.

    The source rows are placed at growing distances from the centre, denser near it, so that biases of near patches keep
    their values; a cubic spline is evaluated at integer distances.

    Args:
        table: ``[(2h - 1)(2w - 1) + extra_rows, H]``, one column per head.
        source: Rows and columns of the patch grid it was made for.
        target: Rows and columns of the grid that is wanted.
        extra_rows: Rows at the end that are no distances: 3 in BEiT, none in Swin.

    Returns:
        The table for ``target``, of the same type.

    Raises:
        ValueError: If the table does not have the rows of its grid.
    """
    from scipy.interpolate import RectBivariateSpline  # slow to import

    height, width = (2 * side - 1 for side in source)
    if len(table) != height * width + extra_rows:
        raise ValueError(f"a relative table of {len(table)} rows is not that of a {source[0]} x {source[1]} grid.")
    if source == target:
        return table
    source_distances = [growing_distances(from_, to) for from_, to in zip((height, width), _sides(target), strict=True)]
    target_distances = [np.arange(side) - side // 2 for side in _sides(target)]
    degrees = {"kx": min(3, height - 1), "ky": min(3, width - 1)}  # cubic, unless the table is tiny
    columns = [
        RectBivariateSpline(*source_distances, column.reshape(height, width), **degrees)(*target_distances).ravel()
        for column in table[: height * width].T.double().cpu().numpy()
    ]
    positions = torch.from_numpy(np.stack(columns, axis=1)).to(table)
    return torch.cat([positions, table[height * width :]])


def growing_distances(source: int, target: int) -> np.ndarray:
    """Signed distances ``..., -(1 + q), -1, 0, 1, 1 + q, ...`` of ``source`` rows that should reach ``target // 2``.

    ``q`` is sought between 1.01 and 1.5 only, as published, so small tables may fall short; the spline then keeps its
    value at the edge.
    """
    terms = source // 2
    low, high = 1.01, 1.5
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q**terms) / (1 - q) > target // 2 else (q, high)
    distances = np.cumsum(q ** np.arange(terms))
    return np.concatenate([-distances[::-1], [0.0], distances])


def _sides(grid: tuple[int, int]) -> tuple[int, int]:
    return 2 * grid[0] - 1, 2 * grid[1] - 1
