"""Records with images and boxes, for tests of transforms."""

import numpy as np
from hypothesis import strategies as st


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


def with_bright(box, height=64, width=96):
    frame = np.zeros((height, width, 3), np.uint8)
    frame[box[1] : box[3], box[0] : box[2]] = 255
    return frame


boxes = st.lists(
    st.tuples(*[st.integers(0, 100)] * 4).map(
        lambda b: (min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]) + 1, max(b[1], b[3]) + 1)
    ),
    min_size=1,
    max_size=6,
).map(lambda rows: np.array(rows, dtype=np.float32))
