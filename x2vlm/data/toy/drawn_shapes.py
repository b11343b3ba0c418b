"""Coloured shapes of the toy world: outlines, colours, sizes, motions and tight boxes.

Coordinates are pixels of the image, x to the right and y downwards; pixel ``i`` covers ``i..i+1``, so a thing that
fills an image has the box ``(0, 0, side, side)``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

Box = tuple[float, float, float, float]

COLORS = {
    "red": (214, 39, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 225),
    "yellow": (245, 220, 40),
    "purple": (150, 40, 185),
    "orange": (245, 135, 20),
    "white": (250, 250, 250),
    "black": (15, 15, 15),
    "pink": (250, 150, 190),
    "brown": (125, 75, 35),
    "cyan": (60, 210, 220),
    "olive": (110, 120, 30),
}
"""Colour words and their RGB; the first eight are easy to distinguish."""

SIZES = {"small": (0.095, 0.12), "large": (0.165, 0.20)}
"""Size words and the range of half a thing's extent, as a share of the image's side (for up to four things)."""

MOTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1), "still": (0, 0)}
"""Motion words and their direction."""


def _polygon(corners: int, first: float = -90.0, radii: Sequence[float] = (1.0,)) -> np.ndarray:
    """``[corners, 2]`` points on circles of the given radii, taken in turn; the first one at ``first`` degrees."""
    angles = np.deg2rad(first + 360.0 * np.arange(corners) / corners)
    radius = np.resize(np.asarray(radii), corners)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


_ARM = 0.36
_CROSS = [(-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)]
_CROSS += [(-x, -y) for x, y in _CROSS]

SHAPES: dict[str, tuple[np.ndarray, ...]] = {
    "circle": (_polygon(40),),
    "square": (0.95 * np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),),
    "triangle": (np.array([(0.0, -0.95), (1.0, 0.85), (-1.0, 0.85)]),),
    "star": (1.1 * _polygon(10, radii=(1.0, 0.42)),),
    "cross": (np.array(_CROSS, dtype=float),),
    "ring": (_polygon(40), 0.5 * _polygon(40)),
    "diamond": (_polygon(4),),
    "hexagon": (_polygon(6, first=0.0),),
}
"""Shape words and their outlines for a radius of 1 (a second one is a hole); the first six are easy to distinguish."""


@lru_cache(maxsize=4096)
def _outlines(shape: str, tilt: int) -> tuple[np.ndarray, ...]:
    turn = np.deg2rad(tilt)
    matrix = np.array([(np.cos(turn), -np.sin(turn)), (np.sin(turn), np.cos(turn))])
    return tuple(outline @ matrix.T for outline in SHAPES[shape])


@lru_cache(maxsize=4096)
def _extent(shape: str, tilt: int) -> Box:
    outline = _outlines(shape, tilt)[0]
    return (*outline.min(axis=0).tolist(), *outline.max(axis=0).tolist())


@dataclass(frozen=True)
class Thing:
    """One coloured shape.

    Attributes:
        shape: A key of ``SHAPES``.
        color: A key of ``COLORS``.
        size: A key of ``SIZES``.
        radius: Pixels per unit of the shape's outline.
        tilt: Degrees turned clockwise.
        x: Pixels, where the outline's origin lies at the start.
        y: Pixels, likewise.
        motion: A key of ``MOTIONS``.
        distance: Pixels travelled in that direction over the whole clip.
    """

    shape: str
    color: str
    size: str
    radius: float
    tilt: int = 0
    x: float = 0.0
    y: float = 0.0
    motion: str = "still"
    distance: float = 0.0

    @property
    def kind(self) -> tuple[str, str, str]:
        """Size, colour and shape: what a phrase mentions. Unique within a scene."""
        return self.size, self.color, self.shape

    @property
    def box_xyxy(self) -> Box:
        """The tight box, in pixels."""
        x0, y0, x1, y1 = _extent(self.shape, self.tilt)
        return (
            self.x + x0 * self.radius,
            self.y + y0 * self.radius,
            self.x + x1 * self.radius,
            self.y + y1 * self.radius,
        )

    def box_at(self, time: float) -> Box:
        """The tight box at ``time`` (0..1) of the clip: that of :meth:`at`, without making a thing."""
        dx, dy = MOTIONS[self.motion]
        x, y = self.x + dx * self.distance * time, self.y + dy * self.distance * time
        x0, y0, x1, y1 = _extent(self.shape, self.tilt)
        return x + x0 * self.radius, y + y0 * self.radius, x + x1 * self.radius, y + y1 * self.radius

    @property
    def center(self) -> tuple[float, float]:
        """Middle of the tight box, in pixels."""
        x0, y0, x1, y1 = self.box_xyxy
        return (x0 + x1) / 2, (y0 + y1) / 2

    def outlines(self) -> list[np.ndarray]:
        """``[n, 2]`` points of each outline, in pixels."""
        return [outline * self.radius + (self.x, self.y) for outline in _outlines(self.shape, self.tilt)]

    def at(self, time: float) -> "Thing":
        """The thing at ``time``, 0 at the start of the clip and 1 at its end."""
        dx, dy = MOTIONS[self.motion]
        return replace(self, x=self.x + dx * self.distance * time, y=self.y + dy * self.distance * time)
