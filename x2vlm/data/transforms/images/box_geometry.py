"""Move boxes with their image: flipped, clipped to a crop, resized, normalised to 0..1.

Boxes are ``[R, 4]`` xyxy in pixels, unless stated.
"""

from collections.abc import Callable, Sequence

import numpy as np

from x2vlm.data.record import Record
from x2vlm.data.transforms.images.geometry import frame_size


def flip_boxes(boxes: np.ndarray, width: float) -> np.ndarray:
    """``[R, 4]`` xyxy boxes of an image of that width, as they lie in the mirrored one."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)


def clip_boxes(boxes: np.ndarray, crop_box: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Boxes clipped to a crop, in coordinates of the crop.

    Args:
        boxes: ``[R, 4]`` xyxy.
        crop_box: The crop, xyxy.

    Returns:
        ``[R, 4]`` boxes within the crop, and ``[R]`` the share of each box's area that is inside. Boxes with a share of
        0 are meaningless.
    """
    low, high = np.array(crop_box[:2] * 2, dtype=boxes.dtype), np.array(crop_box[2:] * 2, dtype=boxes.dtype)
    inside = boxes.clip(low, high)
    areas = [np.prod(each[:, 2:] - each[:, :2], axis=1) for each in (inside, boxes)]
    return inside - low, areas[0] / areas[1].clip(1e-12)


def move_boxes(results: Record, move: Callable[[np.ndarray], np.ndarray]) -> Record:
    """The record with ``move`` applied to its boxes; texts without a box keep the whole frame."""
    if "boxes_xyxy_px" not in results:
        return results
    height, width = frame_size(results)
    whole = np.array([0, 0, width, height], dtype=np.float32)
    has_box = np.array(results["has_box"], dtype=bool)[:, None]
    boxes = np.where(has_box, move(results["boxes_xyxy_px"]), whole)
    return results | {"boxes_xyxy_px": boxes.astype(np.float32)}


def check_no_boxes(results: Record, transform: str) -> None:
    """Refuse a record with boxes where boxes cannot follow the frames.

    Raises:
        ValueError: If a text of the record has a box.
    """
    if any(results.get("has_box", ())):
        raise ValueError(
            f"{results['where']}: {transform} moves the image in a way that boxes cannot follow. Leave it out."
        )


def normalised_boxes(results: Record, has_box: np.ndarray) -> np.ndarray:
    """Boxes as shares of the frame, ``[R, 4]`` xyxy in 0..1; ``(0, 0, 1, 1)`` for texts without a box.

    Args:
        results: The record, with ``boxes_xyxy_px`` where a text has a box.
        has_box: ``[R]`` bool.
    """
    whole = np.tile(np.array([0, 0, 1, 1], dtype=np.float32), (len(has_box), 1))
    if not has_box.any():
        return whole
    height, width = frame_size(results)
    pixels = np.asarray(results["boxes_xyxy_px"], dtype=np.float32)
    return np.where(has_box[:, None], (pixels / np.array([width, height] * 2, dtype=np.float32)).clip(0, 1), whole)
