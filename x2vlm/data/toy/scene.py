"""Scenes of the toy world: random layout and drawing.

Everything is a function of one random generator, so a scene is the same in every process. Coordinates as in
``drawn_shapes``.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from random import Random

import cv2
import numpy as np

from x2vlm.data.toy.drawn_shapes import COLORS, MOTIONS, SHAPES, SIZES, Box, Thing

_SUPERSAMPLING = 4
_MARGIN = 0.5  # pixels between a thing and the edge
_PLACING_TRIES = 40
_ARRANGING_TRIES = 10
_SCENE_TRIES = 20


@dataclass(frozen=True)
class SceneRules:
    """Parameters of scenes; the later fields make them harder.

    Attributes:
        side: Pixels of the square image.
        objects: Fewest and most things in a scene. With more than four, all things are smaller.
        moving: Things travel over the clip (or stand still).
        shapes: Which of ``SHAPES`` occur.
        colors: Which of ``COLORS`` occur.
        scale: Factor on the extent of all things; large things are easier to find, but need room.
        tilt: Things are turned by up to so many degrees.
        max_overlap: Share of the smaller of two boxes that the other may cover.
        clutter: Number of faint strokes behind the things.
        shade: Difference of brightness across the image, in grey levels of 255.
        noise: Standard deviation of each pixel's noise, in grey levels of 255.
    """

    side: int = 64
    objects: tuple[int, int] = (1, 4)
    moving: bool = False
    shapes: tuple[str, ...] = tuple(SHAPES)[:6]
    colors: tuple[str, ...] = tuple(COLORS)[:8]
    scale: float = 1.0
    tilt: int = 0
    max_overlap: float = 0.0
    clutter: int = 0
    shade: float = 0.0
    noise: float = 0.0

    @cached_property
    def kinds(self) -> list[tuple[str, str, str]]:
        """Every (size, colour, shape) that can occur."""
        return list(product(SIZES, self.colors, self.shapes))


@dataclass(frozen=True)
class Scene:
    """Things on a grey ground; later things are drawn over earlier ones.

    Attributes:
        side: Pixels of the square image.
        things: The coloured shapes.
        ground: Grey level of the background.
        strokes: Faint lines behind the things: two end points in pixels and a grey level each.
        shade: Grey levels added at the end of the given direction (degrees), and taken away at its start.
        noise: Standard deviation in grey levels, and the seed of the pixel noise.
    """

    side: int
    things: tuple[Thing, ...]
    ground: int
    strokes: tuple[tuple[tuple[float, float], tuple[float, float], int], ...] = ()
    shade: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, int] = (0.0, 0)


def make_scene(rng: Random, rules: SceneRules) -> Scene:
    """A scene that keeps the rules, drawn from ``rng``.

    Raises:
        ValueError: If so many things find no room.
    """
    things = _make_things(rng, rules)
    ground = rng.randint(105, 150)
    strokes = tuple(_make_stroke(rng, rules.side, ground) for _ in range(rules.clutter))
    shade = (rules.shade / 2, rng.uniform(0, 360)) if rules.shade else (0.0, 0.0)
    noise = (rules.noise, rng.getrandbits(32)) if rules.noise else (0.0, 0)
    return Scene(rules.side, things, ground, strokes, shade, noise)


def _make_things(rng: Random, rules: SceneRules) -> tuple[Thing, ...]:
    count = rng.randint(*rules.objects)
    for _ in range(_SCENE_TRIES):
        things = [_make_thing(rng, kind, rules) for kind in rng.sample(rules.kinds, count)]
        for _ in range(_ARRANGING_TRIES):  # the same things again, lest crowded scenes be all of small things
            arranged = _arrange(rng, things, rules)
            if arranged is not None:
                return arranged
    raise ValueError(
        f"No room for {count} things in a toy scene with max_overlap={rules.max_overlap}, scale={rules.scale} and "
        f"moving={rules.moving}. Set fewer objects, a larger max_overlap or a smaller scale."
    )


def _arrange(rng: Random, things: list[Thing], rules: SceneRules) -> tuple[Thing, ...] | None:
    """The things at random positions without too much overlap, or None if this attempt failed."""
    placed: list[Thing] = []
    tracks: list[list[Box]] = []
    for thing in sorted(things, key=lambda thing: thing.radius + thing.distance, reverse=True):
        placed_thing = _place_without_overlap(rng, thing, tracks, rules)
        if placed_thing is None:
            return None
        placed.append(placed_thing)
        tracks.append(_track(placed_thing, rules))
    return tuple(rng.sample(placed, len(placed)))


def _make_thing(rng: Random, kind: tuple[str, str, str], rules: SceneRules) -> Thing:
    size, color, shape = kind
    crowd = min(1.0, math.sqrt(4 / rules.objects[1]))
    radius = rng.uniform(*SIZES[size]) * rules.side * rules.scale * crowd
    tilt = rng.randint(-rules.tilt, rules.tilt) if rules.tilt else 0
    if not rules.moving:
        return Thing(shape, color, size, radius, tilt)
    motion = rng.choice(list(MOTIONS))
    distance = 0.0 if motion == "still" else rng.uniform(0.25, 0.45) * rules.side
    return Thing(shape, color, size, radius, tilt, motion=motion, distance=distance)


def _place_without_overlap(rng: Random, thing: Thing, taken: list[list[Box]], rules: SceneRules) -> Thing | None:
    """``thing`` at a position inside the image without too much overlap with others; None if none was found.

    Args:
        rng: Draws positions.
        thing: At the origin.
        taken: The boxes of each of the others in the course of the clip.
        rules: Of the scene.
    """
    boxes = _track(thing, rules)
    x0, y0, x1, y1 = (
        reduce(values) for reduce, values in zip((min, min, max, max), zip(*boxes, strict=True), strict=True)
    )
    left, right = _MARGIN - x0, rules.side - _MARGIN - x1
    top, bottom = _MARGIN - y0, rules.side - _MARGIN - y1
    for _ in range(_PLACING_TRIES):
        x, y = rng.uniform(left, right), rng.uniform(top, bottom)
        shifted = [(box[0] + x, box[1] + y, box[2] + x, box[3] + y) for box in boxes]
        if _has_room(shifted, taken, rules.max_overlap):
            return replace(thing, x=x, y=y)
    return None


def _has_room(track: list[Box], taken: list[list[Box]], max_overlap: float) -> bool:
    """Whether no box of a track covers too much of one of another track at the same time."""
    for other in taken:
        for first, second in zip(track, other, strict=True):
            # Most boxes lie apart, which is known from their edges.
            if first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]:
                continue
            if overlap(first, second) > max_overlap:
                return False
    return True


def _track(thing: Thing, rules: SceneRules) -> list[Box]:
    """The boxes of a thing in the course of the clip."""
    return [thing.box_at(time) for time in ((0.0, 0.25, 0.5, 0.75, 1.0) if rules.moving else (0.0,))]


def overlap(first: Box, second: Box) -> float:
    """Share of the smaller of two xyxy boxes that the other covers, 0..1."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / min((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))


def _make_stroke(rng: Random, side: int, ground: int) -> tuple[tuple[float, float], tuple[float, float], int]:
    x, y, angle = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, math.tau)
    length = rng.uniform(0.1, 0.5) * side
    return (x, y), (x + length * math.cos(angle), y + length * math.sin(angle)), ground + rng.choice((-30, -20, 20, 30))


def draw(scene: Scene, time: float = 0.0) -> np.ndarray:
    """The image at ``time`` (0..1) of the clip: ``[side, side, 3]`` uint8 RGB, anti-aliased by supersampling."""
    big = scene.side * _SUPERSAMPLING
    canvas = np.full((big, big, 3), scene.ground, dtype=np.uint8)
    for start, end, grey in scene.strokes:
        points = np.rint(np.array([start, end]) * _SUPERSAMPLING).astype(int).tolist()
        cv2.line(canvas, points[0], points[1], (grey, grey, grey), thickness=_SUPERSAMPLING)
    for thing in scene.things:
        # cv2 names a pixel by its centre, which lies half a pixel from its corner.
        outlines = [np.rint(o * _SUPERSAMPLING - 0.5).astype(np.int32) for o in thing.at(time).outlines()]
        cv2.fillPoly(canvas, outlines, COLORS[thing.color])
    image = cv2.resize(canvas, (scene.side, scene.side), interpolation=cv2.INTER_AREA)
    return _add_shade_and_noise(image, scene, time)


def _add_shade_and_noise(image: np.ndarray, scene: Scene, time: float) -> np.ndarray:
    """``image`` with the scene's shade and noise; the very same array where there is neither."""
    (depth, angle), (noise, seed) = scene.shade, scene.noise
    if not depth and not noise:
        return image
    change = np.zeros(image.shape)
    if depth:
        ramp = np.linspace(-1, 1, scene.side)
        turn = math.radians(angle)
        change += depth * (math.cos(turn) * ramp[None, :, None] + math.sin(turn) * ramp[:, None, None])
    if noise:
        generator = np.random.default_rng((seed, round(time * 1000)))
        change += generator.normal(0.0, noise, image.shape)
    return np.clip(image + change, 0, 255).round().astype(np.uint8)
