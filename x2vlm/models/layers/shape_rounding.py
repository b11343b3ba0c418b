"""Round sizes up to a short ladder, so that kernels, plans and compiled code are reused for few shapes.

On a GPU most of what is prepared for a shape (plans of attention kernels, compiled code, CUDA graphs) is lost when the
next step has another one. Sizes that follow from texts (tokens, rows, lengths, groups) are therefore rounded up to the
next rung; the padding is masked, and no loss or gradient depends on it.
"""

from dataclasses import dataclass

import torch

from x2vlm.building import suggestion

SHAPES = ("auto", "exact", "rounded")


@dataclass(frozen=True)
class ShapeLadder:
    """Rungs per doubling, for each kind of size; 0 leaves a size as it is.

    Attributes:
        tokens: Packed tokens, which every linear layer reads: 16 rungs waste 3 % on average.
        lengths: Tokens of a text, which only attention pads.
        queries: Query tokens of an image, or requested tokens of a text, which only attention pads.
        groups: Texts, groups and images.
    """

    tokens: int = 16
    lengths: int = 2
    queries: int = 1
    groups: int = 4


EXACT = ShapeLadder(0, 0, 0, 0)
ROUNDED = ShapeLadder()


def ladder_of(shapes: str, device: torch.device) -> ShapeLadder:
    """The ladder of a setting: ``auto`` rounds on every device but a CPU, where a shape costs nothing to change.

    Raises:
        ValueError: If the setting is unknown.
    """
    check_shapes(shapes)
    rounds = device.type != "cpu" if shapes == "auto" else shapes == "rounded"
    return ROUNDED if rounds else EXACT


def check_shapes(shapes: str) -> str:
    """The setting itself, if it is one.

    Raises:
        ValueError: If it is not.
    """
    if shapes not in SHAPES:
        raise ValueError(f"shapes is {shapes!r}.{suggestion(str(shapes), SHAPES)} Accepted: {', '.join(SHAPES)}.")
    return shapes


def round_up(size: int, rungs: int) -> int:
    """The least rung that is not below ``size``, with so many ``rungs`` per doubling; ``size`` itself for 0."""
    if rungs == 0 or size <= rungs:
        return size
    step = max(1, 2 ** (size - 1).bit_length() // (2 * rungs))
    return -(-size // step) * step
