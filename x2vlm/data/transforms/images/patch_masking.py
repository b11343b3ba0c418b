"""Block-wise patch masking for masked image modelling."""

import math
import random

import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.data.record import Record
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class MaskPatches(BaseTransform):
    """Choose patches to mask, in blocks (BEiT, arXiv:2106.08254): ``masked_patches``, ``[rows * columns]`` bool.

    Goes in front of ``PackSample``. The vision encoder must have the same grid.

    Args:
        grid: Rows and columns of patches, or one number for both.
        num_masked: Patches to mask, always exactly so many.
        min_block: Least size of a block in patches, while as many are left to be masked.
        aspect: Least and greatest height / width of a block.
    """

    def __init__(
        self,
        grid: int | tuple[int, int] = 14,
        num_masked: int = 75,
        min_block: int = 16,
        aspect: tuple[float, float] = (0.3, 1 / 0.3),
    ) -> None:
        self.grid = (grid, grid) if isinstance(grid, int) else tuple(grid)
        if not 0 <= num_masked <= self.grid[0] * self.grid[1]:
            raise ValueError(f"num_masked is {num_masked}; expected 0 to all patches of the grid {self.grid}")
        if min_block < 1:
            raise ValueError(f"min_block is {min_block}; expected 1 patch or more")
        if not 0 < aspect[0] <= aspect[1]:
            raise ValueError(f"aspect is {tuple(aspect)}; expected the least and the greatest ratio, e.g. (0.3, 3.3)")
        self.num_masked, self.min_block, self.aspect = num_masked, min_block, tuple(aspect)

    def transform(self, results: Record) -> Record:
        """Add ``masked_patches``."""
        masked = block_mask(self.grid, self.num_masked, self.min_block, self.aspect)
        return results | {"masked_patches": masked.ravel()}


def block_mask(
    grid: tuple[int, int],
    num_masked: int,
    min_block: int,
    aspect: tuple[float, float],
    rng: random.Random = random,
) -> np.ndarray:
    """``[rows, columns]`` bool with exactly ``num_masked`` True, in blocks as long as one fits, then one by one.

    Args:
        grid: Rows and columns.
        num_masked: How many are True.
        min_block: Least size that is drawn for a block.
        aspect: Least and greatest height / width; drawn evenly on a logarithmic scale.
        rng: A ``random.Random``, or the module ``random`` for the global generator.
    """
    masked = np.zeros(grid, dtype=bool)
    while (left := num_masked - int(masked.sum())) > 0:
        block = next(filter(None, (_fitting_block(masked, left, min_block, aspect, rng) for _ in range(10))), None)
        if block is None:
            break
        masked[block] = True
    free = np.flatnonzero(~masked).tolist()
    masked.ravel()[rng.sample(free, num_masked - int(masked.sum()))] = True
    return masked


def _fitting_block(
    masked: np.ndarray, left: int, min_block: int, aspect: tuple[float, float], rng: random.Random
) -> tuple[slice, slice] | None:
    """A random block that masks at least one more patch and no more than ``left``; None if the drawn block does not."""
    size = rng.uniform(min_block, max(left, min_block))
    ratio = math.exp(rng.uniform(math.log(aspect[0]), math.log(aspect[1])))
    height, width = round(math.sqrt(size * ratio)), round(math.sqrt(size / ratio))
    if not (0 < height < masked.shape[0] and 0 < width < masked.shape[1]):
        return None
    top, start = rng.randint(0, masked.shape[0] - height), rng.randint(0, masked.shape[1] - width)
    block = slice(top, top + height), slice(start, start + width)
    return block if 0 < int((~masked[block]).sum()) <= left else None
