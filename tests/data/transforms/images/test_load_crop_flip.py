import io
import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms as torchvision_transforms

from tests.data.transforms.image_records import boxes, noise, record, with_bright
from x2vlm.building import build
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import Flip, LoadImage, RandomResizedCrop, Resize
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.registry import TRANSFORMS

RESAMPLE = Image.Resampling.BICUBIC


def bright(frame):
    """xyxy of the bright part of a dark image."""
    rows, columns = (np.flatnonzero(frame.max(axis=(2, axis)) > 127) for axis in (1, 0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def test_an_image_loads_the_same_from_a_path_bytes_or_an_array(tmp_path):
    image, file = noise(), io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    (tmp_path / "a.png").write_bytes(file.getvalue())
    for source in (image, file.getvalue(), tmp_path / "a.png", str(tmp_path / "a.png")):
        loaded = LoadImage()({"where": "w", "image": source, "extras": {"answer": 1}})
        assert np.array_equal(loaded["frames"][0], image) and len(loaded["frames"]) == 1
        assert loaded["extras"] == {"answer": 1, "image_size": (9, 12)}


def photo(width=1000, height=800):
    """A smooth JPEG image."""
    rows, columns = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(rows / 90 + k) * np.cos(columns / 70 - k) for k in range(3)]
    buffer = io.BytesIO()
    Image.fromarray(np.stack(waves, axis=-1).astype(np.uint8)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.mark.parametrize(("at_least", "part"), [(400, 2), (200, 4), (100, 8), (90, 8)])
def test_a_large_jpeg_can_be_read_at_the_size_that_is_needed(at_least, part):
    record = {"where": "w", "image": photo()}
    whole, small = (LoadImage(at_least=side)(record) for side in (None, at_least))
    frame = small["frames"][0]
    assert frame.shape == (800 // part, 1000 // part, 3)
    assert small["extras"]["image_size"] == frame.shape[:2]
    averages = whole["frames"][0].reshape(800 // part, part, 1000 // part, part, 3).mean(axis=(1, 3))
    assert np.abs(frame - averages).mean() < 1


@pytest.mark.parametrize("more", [dict(elems=[{"bb": [0, 0, 9, 9], "caption": "a"}]), dict(image=photo(390, 700))])
def test_images_with_boxes_and_small_ones_are_read_in_full(more):
    record = {"where": "w", "image": photo(), **more}
    whole, same = (LoadImage(at_least=side)(record)["frames"][0] for side in (None, 200))
    assert np.array_equal(whole, same)


def test_a_side_without_pixels_is_refused_where_images_are_read():
    with pytest.raises(ValueError, match="at_least is 0; expected a side in pixels"):
        LoadImage(at_least=0)


def test_a_broken_image_names_its_record():
    with pytest.raises(RecordError, match=r"^train\.jsonl:17: "):
        LoadImage()({"where": "train.jsonl:17", "image": b"not an image"})


def rows_first(frame, size):
    """Pillow as it was when the method was published: rows first, then columns, whatever the shape."""
    rows = Image.fromarray(np.ascontiguousarray(frame)).resize((size[1], frame.shape[0]), RESAMPLE)
    return np.asarray(rows.resize(size[::-1], RESAMPLE)).astype(int)


@pytest.mark.parametrize(("size", "height", "width"), [(8, 8, 8), ((6, 20), 6, 20)])
def test_resize_with_pillow_equals_pillow_and_scales_boxes(size, height, width):
    resized = Resize(size, backend="pillow")(record(boxes=[[3, 3, 6, 9]]))
    assert np.array_equal(resized["frames"][0], np.asarray(Image.fromarray(noise()).resize((width, height), RESAMPLE)))
    expected = [3 * width / 12, 3 * height / 9, 6 * width / 12, height]
    np.testing.assert_allclose(resized["boxes_xyxy_px"], [expected], rtol=1e-6)
    assert np.array_equal(Resize(size)(record(boxes=[[3, 3, 6, 9]]))["boxes_xyxy_px"], resized["boxes_xyxy_px"])


@pytest.mark.parametrize("height", [30, 64, 100, 143, 250])
@pytest.mark.parametrize("width", [30, 64, 101, 200])
def test_resized_images_differ_from_the_pillow_of_the_published_code_by_a_level_in_few_values(height, width):
    frame = noise(height + 2, width + 2, seed=height)[1:-1, 1:-1]  # a view, as crops are
    apart = np.abs(Resize(64)(record(frame))["frames"][0] - rows_first(frame, (64, 64)))
    grows = min(height, width) < 64
    assert apart.max() <= 1 + grows
    assert (apart > 0).mean() < 0.015
    assert (apart > 1).mean() < 1e-3


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
def test_images_of_a_few_pixels_can_be_resized(height, width, to_height, to_width):
    frame = noise(height, width)
    resized = Resize((to_height, to_width))(record(frame))["frames"][0]
    assert resized.shape == (to_height, to_width, 3) and resized.dtype == np.uint8
    assert np.abs(resized - rows_first(frame, (to_height, to_width))).max() <= 2


@pytest.mark.parametrize("make", [Resize, RandomResizedCrop])
def test_a_backend_that_does_not_exist_is_named_with_the_nearest(make):
    with pytest.raises(ValueError, match=r"backend is 'pilow'\. Did you mean 'pillow'\? Accepted: torch, pillow"):
        make(8, backend="pilow")


@pytest.mark.parametrize("seed", range(5))
def test_a_random_crop_equals_torchvision_on_pillow(seed):
    image = noise(50, 70, seed)
    theirs = torchvision_transforms.RandomResizedCrop(
        24, scale=(0.2, 1.0), interpolation=torchvision_transforms.InterpolationMode.BICUBIC
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        expected = np.asarray(theirs(Image.fromarray(image)))
        torch.manual_seed(seed)
        ours = RandomResizedCrop(24, backend="pillow")(record(image))["frames"][0]
        torch.manual_seed(seed)
        default = RandomResizedCrop(24)(record(image))["frames"][0]
    assert np.array_equal(ours, expected)
    assert np.abs(default.astype(int) - expected).mean() < 0.5  # the same part; Pillow may take columns first


@pytest.mark.parametrize("seed", range(8))
def test_boxes_follow_what_they_frame_through_crop_flip_and_resize(seed):
    box = [30, 20, 60, 50]
    results = record(with_bright(box), boxes=[box])
    random.seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in (RandomResizedCrop((80, 64), scale=(0.7, 1.0)), Flip(), Resize(96)):
            results = step(results)
    np.testing.assert_allclose(results["boxes_xyxy_px"][0], bright(results["frames"][0]), atol=2.5)


def test_a_box_too_far_outside_the_crop_takes_its_text_along(monkeypatch):
    monkeypatch.setattr(RandomResizedCrop, "draw", lambda self, frame: (0, 0, 6, 9))  # the left half
    left, half, right = [1, 1, 4, 4], [3, 0, 9, 9], [7, 1, 12, 4]
    cut = RandomResizedCrop(18)(record(boxes=[right, left, half], texts=("right", "left", "half")))
    assert (cut["texts"], cut["ids"], cut["has_box"]) == (["left"], ["id1"], [True])  # exactly half is too little
    np.testing.assert_allclose(cut["boxes_xyxy_px"], [[3, 2, 12, 8]])
    more = RandomResizedCrop(18, min_inside=0.4)(record(boxes=[half], texts=("half",)))
    np.testing.assert_allclose(more["boxes_xyxy_px"], [[9, 0, 18, 18]])
    with pytest.raises(RecordError, match="no box is inside the random crop"):
        RandomResizedCrop(18)(record(boxes=[right]))


def test_a_text_about_the_whole_image_stays_about_the_whole_image(seed):
    results = record(noise(40, 60))
    for step in (RandomResizedCrop((20, 30)), Flip(prob=1), Resize((8, 10))):
        results = step(results)
        height, width = results["frames"][0].shape[:2]
        assert results["boxes_xyxy_px"].tolist() == [[0, 0, width, height]]


@given(boxes)
def test_mirroring_twice_changes_nothing(rows):
    results = record(noise(101, 101), boxes=rows, texts=["a dog"] * len(rows))
    twice = Flip(prob=1)(Flip(prob=1)(results))
    assert np.array_equal(twice["boxes_xyxy_px"], rows)
    assert np.array_equal(twice["frames"][0], results["frames"][0])


def test_half_of_the_images_are_mirrored(seed):
    flips = [not np.array_equal(Flip()(record())["frames"][0], noise()) for _ in range(400)]
    assert abs(np.mean(flips) - 0.5) < 0.07


@pytest.mark.parametrize(
    "fields",
    [
        {"texts": ("a dog", "the cat on the left")},
        {"elems": [{"bb": (0, 0, 1, 1), "caption": ["a dog", "the RIGHT dog"]}]},
        {"elems": [{"bb": (0, 0, 1, 1), "caption": {"en": "a dog", "de": ["linker Hund"]}}]},
        {"elems": [{"bb": (0, 0, 1, 1), "caption": "dog", "attributes": ["left", "brown"]}]},
    ],
)
def test_an_image_is_not_mirrored_where_a_text_mentions_left_or_right(fields):
    assert np.array_equal(Flip(prob=1)(record(**fields))["frames"][0], noise())
    published = Flip(prob=1, careful=False)(record(**fields))
    assert np.array_equal(published["frames"][0], noise()[:, ::-1])


def test_all_frames_of_a_clip_are_cropped_and_mirrored_alike(seed):
    results = record(*[noise(40, 40)] * 6)
    for step in (RandomResizedCrop(16), Flip()):
        results = step(results)
    assert len(results["frames"]) == 6
    assert all(np.array_equal(frame, results["frames"][0]) for frame in results["frames"])


@pytest.mark.parametrize("step", [RandomResizedCrop(16, per_frame=True), Flip(per_frame=True)])
def test_the_published_way_draws_for_every_frame_anew(step, seed):
    frames = step(record(*[noise(40, 40)] * 6))["frames"]
    assert len({frame.tobytes() for frame in frames}) > 1


@pytest.mark.parametrize("step", [RandomResizedCrop(16, scale=(0.9, 1), per_frame=True), Flip(per_frame=True)])
def test_boxes_cannot_follow_frames_that_move_one_by_one(step):
    with pytest.raises(ValueError, match=r"train\.jsonl:17: .*per_frame=True\) moves the image"):
        step(record(noise(), noise(), boxes=[[1, 1, 4, 4]]))
    assert len(step(record(noise(), boxes=[[0, 0, 12, 9]]))["frames"]) == 1  # one frame: nothing to disagree


def test_a_transform_leaves_the_record_it_was_given_as_it_was(seed):
    given = record(boxes=[[1, 1, 4, 4]], extras={"answer": 1})
    before = {key: value.copy() if isinstance(value, np.ndarray) else value for key, value in given.items()}
    for step in (RandomResizedCrop(4, scale=(1, 1)), Flip(prob=1), Resize(5), PackSample()):
        step(given)
    assert given.keys() == before.keys()
    assert np.array_equal(given["frames"][0], noise()) and given["extras"] == {"answer": 1}
    assert np.array_equal(given["boxes_xyxy_px"], before["boxes_xyxy_px"])


@pytest.mark.parametrize(
    ("transform", "reason"),
    [
        (dict(type="Flip", prob=2), "prob is 2"),
        (dict(type="RandomResizedCrop", size=8, scale=(0.5, 0.2)), "scale is"),
        (dict(type="Resize", size=(0, 4)), "expected a side"),
    ],
)
def test_an_option_without_meaning_is_named(transform, reason):
    with pytest.raises(ValueError, match=reason):
        build(TRANSFORMS, transform)


@pytest.mark.parametrize(("limit", "value"), [("max_pixels", 11), ("max_bytes", 10)])
def test_an_image_beyond_the_limits_of_the_config_is_a_bad_record(limit, value):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3)).save(buffer, "PNG")
    record = {"where": "train.jsonl:17", "image": buffer.getvalue()}
    assert LoadImage()(record)["frames"][0].shape == (3, 4, 3)
    with pytest.raises(RecordError, match=rf"train\.jsonl:17.*{limit}"):
        LoadImage(**{limit: value})(record)
