"""What counts as a box of an image, by one rule for all formats; and which convention boxes that are none may follow.

A box is ``(x, y, width, height)`` in pixels of the annotated image. A small overhang (annotations are rounded) is cut;
a large one, and a box without a pixel of its own, is an error: most often the numbers mean something else.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Box = tuple[float, float, float, float]

OVERHANG_PX = 3.0
"""A box may reach so far out of its image, and is cut."""

LEAST_PX = 1.0
"""Width and height of the smallest box."""

_EXACT = 1e-3  # what single precision loses of a coordinate
_ENOUGH = 0.95  # share of the boxes that a convention has to fit before it is proposed


def read_box(values: Any) -> Box:
    """Four numbers as a box.

    Raises:
        ValueError: If they are something else.
    """
    try:
        x, y, width, height = (float(number) for number in values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"its box is {values!r:.60}; expected four numbers x, y, w, h") from error
    return x, y, width, height


def xywh_inside(box: Sequence[float], width: float, height: float) -> Box:
    """The part of a box that lies in its image.

    Args:
        box: ``(x, y, width, height)`` in pixels.
        width: Of the image; infinite where it is not known.
        height: Of the image.

    Raises:
        ValueError: If the box reaches out by more than :data:`OVERHANG_PX`, or is smaller than :data:`LEAST_PX`.
    """
    x, y, w, h = box
    shown = f"its box x={x:g} y={y:g} w={w:g} h={h:g}"
    outside = max(-x, -y, x + w - width, y + h - height)
    if not (outside <= OVERHANG_PX and w > 0 and h > 0):  # false for NaN as well
        raise ValueError(f"{shown} is not inside the {width:g}x{height:g} image")
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))
    if min(right - left, bottom - top) < LEAST_PX - _EXACT:
        raise ValueError(f"{shown} is smaller than a pixel in the {width:g}x{height:g} image")
    return left, top, right - left, bottom - top


def is_inside(box: Sequence[float], width: float, height: float) -> bool:
    """Whether it is a box of the image."""
    try:
        xywh_inside(box, width, height)
    except ValueError:
        return False
    return True


CONVENTIONS: dict[str, Callable[[Box, float, float], Box]] = {
    "x0, y0, x1, y1 in pixels": lambda box, width, height: (box[0], box[1], box[2] - box[0], box[3] - box[1]),
    "x, y, w, h from 0 to 1": lambda box, width, height: (
        box[0] * width,
        box[1] * height,
        box[2] * width,
        box[3] * height,
    ),
    "x0, y0, x1, y1 from 0 to 1": lambda box, width, height: (
        box[0] * width,
        box[1] * height,
        (box[2] - box[0]) * width,
        (box[3] - box[1]) * height,
    ),
    "center x, center y, w, h from 0 to 1": lambda box, width, height: (
        (box[0] - box[2] / 2) * width,
        (box[1] - box[3] / 2) * height,
        box[2] * width,
        box[3] * height,
    ),
    "x, y, w, h from 0 to 1000": lambda box, width, height: (
        box[0] * width / 1000,
        box[1] * height / 1000,
        box[2] * width / 1000,
        box[3] * height / 1000,
    ),
}
"""Other ways in which people write boxes, and how each becomes ``(x, y, width, height)`` in pixels."""


def conventions_that_fit(box: Any, width: float, height: float) -> set[str]:
    """The :data:`CONVENTIONS` by which a box would lie in its image."""
    try:
        numbers = read_box(box)
    except ValueError:
        return set()
    return {name for name, convert in CONVENTIONS.items() if is_inside(convert(numbers, width, height), width, height)}


def fitting_convention(boxes: Sequence[Any], width: float, height: float) -> str:
    """A sentence that names the convention that fits most boxes of an image, if that is nearly all; else empty."""
    return proposed_convention([conventions_that_fit(box, width, height) for box in boxes])


def proposed_convention(fits: Sequence[set[str]]) -> str:
    """The same, from what :func:`conventions_that_fit` gave for each box."""
    counts = {name: sum(name in one for one in fits) for name in CONVENTIONS}
    most = max(counts.values())
    if not fits or most < _ENOUGH * len(fits):
        return ""
    names = ", or as ".join(name for name, count in counts.items() if count == most)
    return f". {most} of the {len(fits)} boxes would fit as {names}; expected x, y, w, h in pixels"


def polygon_box(segmentation: Any) -> Box:
    """The box around polygons of COCO, lists of ``x, y, x, y, ...``.

    Raises:
        ValueError: If there is no such polygon.
    """
    try:
        points = np.concatenate([np.asarray(one, dtype=float).reshape(-1, 2) for one in segmentation])
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"its segmentation is {segmentation!r:.60}; expected lists of x, y, x, y, ...") from error
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return left, top, right - left, bottom - top
