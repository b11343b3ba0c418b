"""Toy scenes: do the boxes fit the pixels, and do the things keep the rules?"""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from x2vlm.data.toy.drawn_shapes import COLORS, SHAPES, SIZES
from x2vlm.data.toy.scene import SceneRules, draw, make_scene, overlap

EVERYTHING = dict(shapes=tuple(SHAPES), colors=tuple(COLORS))
HARD = EVERYTHING | dict(tilt=15, clutter=5, shade=40.0, noise=6.0, max_overlap=0.2, objects=(3, 6))


def scenes(count, **rules):
    return [make_scene(Random(seed), SceneRules(**rules)) for seed in range(count)]


def pixel_box(scene, thing, time):
    """The box of the pixels that change when a thing is taken away: x0, y0, x1, y1."""
    without = replace(scene, things=tuple(other for other in scene.things if other is not thing))
    changed = (draw(scene, time) != draw(without, time)).any(axis=-1)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize(
    "rules",
    [{}, EVERYTHING, EVERYTHING | {"tilt": 20}, {"side": 96, "objects": (5, 7)}, {"moving": True}, {"scale": 1.3}],
)
def test_boxes_are_the_boxes_of_the_pixels(rules):
    for scene in scenes(40, **({"objects": (1, 3)} | rules)):
        for thing, time in [(thing, time) for thing in scene.things for time in (0.0, 1.0)]:
            assert np.abs(pixel_box(scene, thing, time) - thing.at(time).box_xyxy).max() <= 1.0, (thing, time)


@pytest.mark.parametrize("rules", [{}, HARD, {"side": 33}, {"moving": True, "objects": (1, 3)}])
def test_things_lie_inside_the_image_all_along(rules):
    for scene in scenes(60, **rules):
        for time in (0.0, 0.5, 1.0):
            boxes = [thing.at(time).box_xyxy for thing in scene.things]
            assert all(0 <= x0 < x1 <= scene.side and 0 <= y0 < y1 <= scene.side for x0, y0, x1, y1 in boxes)


@pytest.mark.parametrize("rules", [{}, HARD, {"side": 33}])
def test_images_are_square_rgb(rules):
    scene = scenes(1, **rules)[0]
    assert draw(scene).shape == (scene.side, scene.side, 3)
    assert draw(scene).dtype == np.uint8


def test_an_image_shows_the_colours_of_its_things():
    for scene in scenes(30, shapes=("circle", "square", "cross"), colors=tuple(COLORS)):
        image = draw(scene)
        for thing in scene.things:
            x, y = (int(value) for value in thing.center)
            assert tuple(image[y, x]) == COLORS[thing.color]


def test_the_ground_shows_through_a_ring():
    for scene in scenes(30, shapes=("ring",), clutter=0):
        image = draw(scene)
        for thing in scene.things:
            x, y = (int(value) for value in thing.center)
            assert tuple(image[y, x]) == (scene.ground,) * 3


@pytest.mark.parametrize("most", [0.0, 0.25])
def test_things_cover_each_other_no_more_than_allowed(most):
    shares = [
        overlap(a.box_xyxy, b.box_xyxy)
        for scene in scenes(150, objects=(4, 4), max_overlap=most)
        for i, a in enumerate(scene.things)
        for b in scene.things[i + 1 :]
    ]
    assert max(shares) <= most
    assert (max(shares) > 0) == (most > 0)


def test_moving_things_stay_apart_all_along():
    for scene in scenes(60, objects=(3, 3), moving=True):
        for time in (0.0, 0.25, 0.5, 0.75, 1.0):
            boxes = [thing.at(time).box_xyxy for thing in scene.things]
            assert all(overlap(a, b) == 0 for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_no_two_things_of_a_scene_look_alike():
    for scene in scenes(100, objects=(4, 4), shapes=("circle", "star"), colors=("red", "blue")):
        assert len({thing.kind for thing in scene.things}) == 4


def test_large_things_are_larger_than_small_ones_whatever_their_shape():
    extents = {size: [] for size in SIZES}
    for thing in [thing for scene in scenes(300, **EVERYTHING) for thing in scene.things]:
        x0, y0, x1, y1 = thing.box_xyxy
        extents[thing.size].append(max(x1 - x0, y1 - y0))
    assert 1.2 * max(extents["small"]) < min(extents["large"])


@pytest.mark.parametrize("rules", [{"objects": (4, 4)}, {"objects": (7, 7)}, {"objects": (2, 2), "moving": True}])
def test_crowded_scenes_have_about_as_many_large_things_as_small_ones(rules):
    sizes = [thing.size for scene in scenes(200, **rules) for thing in scene.things]
    assert 0.4 < sizes.count("large") / len(sizes) < 0.6


def test_scale_makes_all_things_larger():
    plain, larger = scenes(1, objects=(1, 1))[0].things[0], scenes(1, objects=(1, 1), scale=1.5)[0].things[0]
    assert larger.radius == pytest.approx(1.5 * plain.radius)


@pytest.mark.parametrize("rule", [{"clutter": 6}, {"shade": 50.0}, {"noise": 8.0}, {"tilt": 15}])
def test_every_difficulty_changes_the_image(rule):
    plain, hard = draw(scenes(1)[0]), draw(scenes(1, **rule)[0])
    assert (plain != hard).mean() > 0.005


def test_pixel_noise_differs_between_the_frames_of_a_clip():
    scene = scenes(1, noise=8.0)[0]
    assert (draw(scene, 0.0) != draw(scene, 0.5)).mean() > 0.5
    assert np.array_equal(draw(scene, 0.5), draw(scene, 0.5))


def test_too_crowded_a_scene_is_reported(monkeypatch):
    monkeypatch.setattr("x2vlm.data.toy.scene._SCENE_TRIES", 1)
    with pytest.raises(ValueError, match=r"No room for 40 things .* Set fewer objects"):
        scenes(1, objects=(40, 40), moving=True)
