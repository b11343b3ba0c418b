"""Scenes of NLVR v1: three boxes of coloured shapes, read from its structured representation or made up, and drawn.

The geometry is that of the corpus (Suhr et al., 2017): an image of 400 x 100 pixels, boxes of 100 x 100 at x = 0, 150
and 300. A box holds a tower of one to four blocks, or up to eight shapes that lie anywhere and do not overlap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np

SIDE, STEP, HEIGHT, WIDTH = 100, 150, 100, 400
GROUND, STRIP = 211, 128
COLORS = {"yellow": (255, 255, 0), "black": (0, 0, 0), "blue": (0, 153, 255)}
SHAPES = ("square", "circle", "triangle")
SIZES = {"small": 10, "medium": 20, "big": 30}
TOWER_X, TOWER_Y = 40, (80, 59, 38, 17)

_COLOR_OF_CODE = {"Yellow": "yellow", "Black": "black", "#0099ff": "blue"}
_SUPERSAMPLING = 8
_GAP = 1  # pixels that shapes keep from one another
_TRIES = 200


@dataclass(frozen=True)
class Item:
    """A shape; ``x`` and ``y`` are the top left corner of its bounding box, in pixels of its own box of the image."""

    x: int
    y: int
    size: int
    shape: str
    color: str

    @property
    def right(self) -> int:
        """Pixels from the left wall to its right edge (exclusive)."""
        return self.x + self.size

    @property
    def bottom(self) -> int:
        """Pixels from the ceiling to its lower edge (exclusive)."""
        return self.y + self.size


@dataclass(frozen=True)
class Scene:
    """Three boxes of items. The blocks of a tower are in order from its base to its top."""

    boxes: tuple[tuple[Item, ...], ...]
    towers: bool

    @property
    def items(self) -> list[Item]:
        """The items of all boxes."""
        return [item for box in self.boxes for item in box]


def read_scene(structured_rep: Sequence[Sequence[dict[str, Any]]], order: Sequence[int] = (0, 1, 2)) -> Scene:
    """The scene of a ``structured_rep`` of the corpus, its boxes in this order from the left."""
    boxes = [[_read_item(item) for item in structured_rep[number]] for number in order]
    towers = all(item.x == TOWER_X and item.y in TOWER_Y and item.shape == "square" for box in boxes for item in box)
    return Scene(tuple(tuple(sorted(box, key=lambda item: -item.y) if towers else box) for box in boxes), towers)


def make_scene(rng: Random, towers: bool) -> Scene:
    """A scene drawn at random, distributed like those of the corpus."""
    return Scene(tuple(_tower(rng) if towers else _scatter(rng) for _ in range(3)), towers)


def draw_scene(scene: Scene) -> np.ndarray:
    """``[100, 400, 3]`` uint8 RGB; edges of circles and triangles are anti-aliased."""
    image = np.full((HEIGHT, WIDTH, 3), STRIP, dtype=np.uint8)
    for slot, box in enumerate(scene.boxes):
        left = STEP * slot
        image[:, left : left + SIDE] = GROUND
        for item in box:
            part = image[item.y : item.bottom, left + item.x : left + item.right]
            part[:] = _stamp(item.shape, item.size, item.color)
    return image


def box_of(item: Item, slot: int) -> tuple[float, float, float, float]:
    """x, y, width and height in pixels of the image, of an item in the box number ``slot`` from the left."""
    return (float(STEP * slot + item.x), float(item.y), float(item.size), float(item.size))


def _read_item(item: dict[str, Any]) -> Item:
    return Item(item["x_loc"], item["y_loc"], item["size"], item["type"], _COLOR_OF_CODE[item["color"]])


def _tower(rng: Random) -> tuple[Item, ...]:
    height = rng.randint(1, len(TOWER_Y))
    colors = [rng.choice(tuple(COLORS)) for _ in range(height)]
    return tuple(Item(TOWER_X, y, 20, "square", color) for y, color in zip(TOWER_Y, colors, strict=False))


def _scatter(rng: Random) -> tuple[Item, ...]:
    count, items = rng.randint(1, 8), []
    for _ in range(_TRIES):
        if len(items) == count:
            break
        size = rng.choice(tuple(SIZES.values()))
        # A position beyond a wall is moved back to it: so many shapes touch the right wall and the floor.
        x, y = (min(rng.randrange(SIDE), SIDE - size) for _ in range(2))
        item = Item(x, y, size, rng.choice(SHAPES), rng.choice(tuple(COLORS)))
        if not any(_overlap(item, other) for other in items):
            items.append(item)
    return tuple(items)


def _overlap(one: Item, other: Item) -> bool:
    return (
        one.x < other.right + _GAP
        and other.x < one.right + _GAP
        and one.y < other.bottom + _GAP
        and other.y < one.bottom + _GAP
    )


@lru_cache(maxsize=64)
def _stamp(shape: str, size: int, color: str) -> np.ndarray:
    """``[size, size, 3]`` uint8, on the ground of a box."""
    share = _coverage(shape, size)[..., None]
    return np.rint(share * np.array(COLORS[color]) + (1 - share) * GROUND).astype(np.uint8)


def _coverage(shape: str, size: int) -> np.ndarray:
    """``[size, size]``, the share of each pixel that the shape covers."""
    fine = (np.arange(size * _SUPERSAMPLING) + 0.5) / (size * _SUPERSAMPLING)
    x, y = fine[None, :], fine[:, None]
    inside = {
        "square": np.ones((len(fine), len(fine)), dtype=bool),
        "circle": (x - 0.5) ** 2 + (y - 0.5) ** 2 <= 0.25,
        "triangle": np.abs(x - 0.5) <= y / 2,
    }[shape]
    return inside.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean(axis=(1, 3))
