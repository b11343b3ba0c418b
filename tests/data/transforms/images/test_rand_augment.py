import random
from collections import Counter

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from x2vlm.building import ConfigError, build
from x2vlm.data.transforms.images.rand_augment import COLOUR_OPS, OPS, SHAPE_OPS, RandAugment
from x2vlm.registry import TRANSFORMS

AFFINE, BILINEAR = Image.Transform.AFFINE, Image.Resampling.BILINEAR
GREY = (128, 128, 128)


def smooth(height=40, width=56):
    """An image without edges, on which two ways to interpolate agree."""
    rows, columns = np.mgrid[:height, :width] / 8.0
    waves = [np.sin(rows + k) * np.cos(columns - k) for k in range(3)]
    return (127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)


def noise(height=40, width=56):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def record(*frames, has_box=False):
    return {"where": "train.jsonl:17", "frames": list(frames), "has_box": [has_box]}


def pillow(frame, change):
    return np.asarray(change(Image.fromarray(frame))).astype(int)


def affine(*numbers):
    return lambda image: image.transform(image.size, AFFINE, numbers, resample=BILINEAR, fillcolor=GREY)


@pytest.mark.parametrize(
    "frame", [smooth(), noise(), np.full((4, 5, 3), 77, np.uint8)], ids=["smooth", "noise", "flat"]
)
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("identity", lambda image: image),
        ("autocontrast", ImageOps.autocontrast),
        ("equalize", ImageOps.equalize),
        ("brightness", lambda image: ImageEnhance.Brightness(image).enhance(1.36)),
    ],
)
def test_colour_operations_equal_those_of_pillow(name, change, frame):
    assert np.array_equal(OPS[name](frame, 0.7, 128), pillow(frame, change))


def test_sharpness_equals_that_of_pillow_to_a_rounding():
    ours = OPS["sharpness"](noise(), 0.7, 128)
    theirs = pillow(noise(), lambda image: ImageEnhance.Sharpness(image).enhance(1.36))
    assert np.abs(ours - theirs).max() <= 1
    assert np.array_equal(ours[0], noise()[0]) and np.array_equal(ours[:, -1], noise()[:, -1])


# Pillow says from where each pixel is fetched, and counts from the edge of pixels, not from their middle.
@pytest.mark.parametrize(
    ("name", "strength", "change"),
    [
        ("shear_x", 0.7, affine(1, -0.21, 0.105, 0, 1, 0)),
        ("shear_x", -0.7, affine(1, 0.21, -0.105, 0, 1, 0)),
        ("shear_y", 0.7, affine(1, 0, 0, -0.21, 1, 0.105)),
        ("translate_x", 0.7, affine(1, 0, -7, 0, 1, 0)),
        ("translate_y", -0.7, affine(1, 0, 0, 0, 1, 7)),
        ("rotate", 0.7, lambda image: image.rotate(-21, resample=BILINEAR, fillcolor=GREY)),
        ("rotate", -0.7, lambda image: image.rotate(21, resample=BILINEAR, fillcolor=GREY)),
    ],
)
def test_operations_of_shape_equal_those_of_pillow_off_the_border(name, strength, change):
    ours, theirs = OPS[name](smooth(), strength, 128).astype(int), pillow(smooth(), change)
    from_outside = (theirs == 128).all(axis=2)
    border = from_outside | np.roll(from_outside, 1, 0) | np.roll(from_outside, -1, 0)
    border |= np.roll(border, 1, 1) | np.roll(border, -1, 1)
    border[[0, -1]] = border[:, [0, -1]] = True
    assert np.abs(ours - theirs)[~border].max() <= 3
    assert (~border).mean() > 0.5


def test_seven_pixels_are_seven_pixels_whatever_the_size():
    for size in (20, 60):
        moved = OPS["translate_x"](noise(size, size), 0.7, 128)
        assert np.array_equal(moved[:, 7:], noise(size, size)[:, :-7])
        assert (moved[:, :7] == 128).all()


@pytest.mark.parametrize("name", SHAPE_OPS)
def test_what_comes_in_from_outside_has_the_fill_colour(name):
    black = np.zeros((20, 20, 3), np.uint8)
    assert OPS[name](black, 0.7, 128).max() == 128
    assert OPS[name](black, 0.7, 9).max() == 9


def test_two_operations_are_drawn_with_replacement_and_each_is_applied_half_of_the_time(seed):
    draws = [RandAugment().draw() for _ in range(4000)]
    counts = Counter(len(draw) for draw in draws)
    assert [counts[n] / 4000 for n in range(3)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    names = Counter(name for draw in draws for name, _ in draw)
    assert set(names) == set(OPS)
    assert [count / 4000 for count in names.values()] == pytest.approx([0.1] * 10, abs=0.02)
    assert any(len(draw) == 2 and draw[0][0] == draw[1][0] for draw in draws)


def test_the_direction_is_drawn_and_the_strength_is_the_level(seed):
    strengths = Counter(strength for _ in range(1000) for _, strength in RandAugment(prob=1).draw())
    assert set(strengths) == {0.7, -0.7}
    assert abs(strengths[0.7] / 2000 - 0.5) < 0.05
    assert {abs(s) for _, s in RandAugment(prob=1, level=3, num_ops=9).draw()} == {0.3}


def test_the_number_of_operations_and_their_share_are_options(seed):
    assert {len(RandAugment(num_ops=4, prob=1).draw()) for _ in range(9)} == {4}
    assert {len(RandAugment(prob=0).draw()) for _ in range(9)} == {0}


def test_the_colour_operations_move_nothing(seed):
    augment = RandAugment(ops="colour", prob=1)
    assert {name for _ in range(99) for name, _ in augment.draw()} == set(COLOUR_OPS)
    assert augment(record(noise(), has_box=True))["frames"][0].shape == noise().shape


@pytest.mark.parametrize("ops", ["all", ("identity", "rotate")])
def test_an_image_with_boxes_is_not_moved_under_them(ops):
    with pytest.raises(ValueError, match=r"train\.jsonl:17: RandAugment with the operations of shape \(ops='colour'"):
        RandAugment(ops=ops)(record(noise(), has_box=True))


def test_all_frames_of_a_clip_are_changed_alike(seed):
    for _ in range(10):
        changed = RandAugment(num_ops=3, prob=1)(record(noise(), noise(), noise()))["frames"]
        assert all(np.array_equal(frame, changed[0]) for frame in changed)


def test_the_published_way_draws_for_every_frame_anew(seed):
    changed = RandAugment(num_ops=3, prob=1, per_frame=True)(record(*[noise()] * 6))["frames"]
    assert len({frame.tobytes() for frame in changed}) > 1


def test_the_frames_that_were_given_stay_as_they_were(seed):
    frame = noise()
    for name in OPS:
        RandAugment(ops=(name,), prob=1)(record(frame))
        RandAugment(ops=(name,), prob=1)(record(frame[:, ::-1]))
    assert np.array_equal(frame, noise())


def test_the_fill_colour_is_an_option(seed):
    random.seed(0)
    assert (RandAugment(ops=("translate_x",), num_ops=1, prob=1, fill=5)(record(noise()))["frames"][0] == 5).any()


def test_a_misspelt_operation_is_named_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"ops: there is no 'rotat'\. Did you mean 'rotate'\? Accepted: all, colour, id"
    ):
        build(TRANSFORMS, dict(type="RandAugment", ops=("identity", "rotat")))
    with pytest.raises(ConfigError, match=r"there is no 'color'\. Did you mean 'colour'"):
        build(TRANSFORMS, dict(type="RandAugment", ops="color"))
    with pytest.raises(ConfigError, match="there is no"):
        build(TRANSFORMS, dict(type="RandAugment", ops=()))


@pytest.mark.parametrize("option", [{"level": 11}, {"prob": 1.5}])
def test_a_number_without_meaning_is_named(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is"):
        RandAugment(**option)
