import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.data.transforms.images.box_geometry import clip_boxes, flip_boxes
from x2vlm.data.transforms.images.geometry import parse_size
from x2vlm.data.transforms.images.load_crop_flip import Flip


def noise(height=9, width=12, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def record(*frames, boxes=None, texts=("a dog",), **fields):
    frames = list(frames) or [noise()]
    height, width = frames[0].shape[:2]
    has_box = [boxes is not None] * len(texts)
    boxes = [[0, 0, width, height]] * len(texts) if boxes is None else boxes
    boxes = np.array(boxes, dtype=np.float32)
    pairs = {"texts": list(texts), "ids": [f"id{i}" for i in range(len(texts))], "has_box": has_box}
    return {"where": "train.jsonl:17", "frames": frames, "boxes_xyxy_px": boxes, **pairs, **fields}


boxes = st.lists(
    st.tuples(*[st.integers(0, 100)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: np.array(rows, dtype=np.float32))


@pytest.mark.parametrize("size", [0, (4, 0), -3])
def test_a_size_without_pixels_is_refused(size):
    with pytest.raises(ValueError, match="expected a side, or"):
        parse_size(size)


def test_a_mirrored_box_is_counted_from_the_other_side():
    flipped = Flip(prob=1)(record(boxes=[[1, 2, 4, 6]]))
    assert flipped["boxes_xyxy_px"].tolist() == [[8, 2, 11, 6]]
    assert np.array_equal(flipped["frames"][0], noise()[:, ::-1])


@given(boxes, st.integers(1, 100))
def test_mirrored_boxes_keep_their_size_and_order(rows, width):
    flipped = flip_boxes(rows, width)
    assert np.array_equal(flipped[:, 2:] - flipped[:, :2], rows[:, 2:] - rows[:, :2])
    assert np.array_equal(flipped[:, [1, 3]], rows[:, [1, 3]])


@given(boxes, st.integers(0, 60), st.integers(0, 60), st.integers(1, 60), st.integers(1, 60))
def test_clipped_boxes_lie_in_the_part_and_their_share_is_right(rows, x, y, width, height):
    clipped, share = clip_boxes(rows, (x, y, x + width, y + height))
    assert (clipped >= 0).all() and (clipped[:, 2:] <= [width, height]).all()
    for row, part in zip(rows.astype(int), share, strict=True):
        own = np.zeros((102, 102), bool)
        own[row[1] : row[3], row[0] : row[2]] = True
        assert part == pytest.approx(own[y : y + height, x : x + width].sum() / own.sum(), abs=1e-5)
