"""What adapters and transforms of plugins must give: looked at in every record that passes through one of them.

Shape letters: R pairs of the record.
"""

import pickle
from collections.abc import Callable, Mapping
from os import PathLike
from typing import Any

import numpy as np

from x2vlm.building import suggestion
from x2vlm.data.batch import Sample
from x2vlm.data.record import RecordError

PER_PAIR = ("texts", "ids", "has_box", "boxes_xyxy_px", "labels", "text_answers")
"""Keys of a record that hold one entry for each pair."""
KEYS = (
    *("where", "id", "own_id", "image", "images", "video", "clips", "caption", "elems", "stated_size", "segment"),
    *("boxes_are_shares", "text", "text_pair", "parallel", "question", "answers", "choices", "negatives", "crop_px"),
    *("label", "extras"),
)
"""Keys of a record as an adapter makes it; see :mod:`x2vlm.data.record`."""
_PASSED_ON = ("frames", "texts", "ids", "has_box", "boxes_xyxy_px")
_BOXES = "expected (x0, y0, x1, y1) in pixels of the frame, x0 < x1 and y0 < y1"
_DECLARATION = (
    "Declare moves_pixels = False (colours alone change) or moves_pixels = True, and move the boxes with the pixels: "
    "x2vlm.data.transforms.images.box_geometry.move_boxes."
)


def base_class_problem(dataset: Any) -> str:
    """Whether a data set that gives records is a whole adapter, as a sentence; empty where it is."""
    name = type(dataset).__name__
    if not hasattr(type(dataset), "__getitem__"):
        return f"{name} is no Adapter. Derive it from x2vlm.data.Adapter, which applies the pipeline."
    if hasattr(dataset, "record") and not hasattr(dataset, "pipeline"):
        return f"{name}.__init__ must call super().__init__(pipeline, limits)."
    return ""


def adapter_problem(dataset: Any) -> str:
    """What is wrong with an adapter before a record is read, as a sentence; empty where nothing is."""
    name = type(dataset).__name__
    if problem := base_class_problem(dataset):
        return problem
    try:
        pickle.dumps(dataset)
    except Exception as error:  # whatever a foreign object raises when it is copied
        return (
            f"{name} cannot be copied to worker processes: {type(error).__name__}: {error}. Keep no open file, lambda "
            "or connection in it; open what it reads when a record is asked for."
        )
    return ""


def record_problem(record: Any) -> str:
    """What is wrong with what ``record(index)`` gave, as the end of a sentence; empty where nothing is."""
    if not isinstance(record, Mapping):
        return f"gave {_kind(record)}; expected a dict with 'where'. A record that cannot be used raises RecordError."
    if not isinstance(record.get("where"), str):
        keys = ", ".join(map(str, record)) or "none"
        return f"gave a dict without 'where' (its keys: {keys}); expected the record's place, e.g. 'file.csv:3'."
    return _content_problem(record)


def _content_problem(record: Mapping[str, Any]) -> str:
    """Contents of another kind than transforms read, as the end of a sentence; what a record may lack is its matter."""
    if "id" in record and record["id"] is None:
        return "gave None as 'id', so that all its records would count as one image; expected its identity, or no 'id'."
    image, elems = record.get("image"), record.get("elems")
    if image is not None and not isinstance(image, (str, PathLike, bytes, np.ndarray)):
        return (
            f"gave {_kind(image)} as 'image'; expected a path, the bytes of a file, or an [H, W, 3] uint8 array: of a "
            "Pillow image, numpy.array(image.convert('RGB'))."
        )
    if elems is not None and not (isinstance(elems, (list, tuple)) and all(isinstance(one, Mapping) for one in elems)):
        return (
            f"gave {_kind(elems)} as 'elems'; expected a list of dicts with 'bb' (x, y, width, height) and 'caption'."
        )
    return ""


def misspelt_keys(record: Mapping[str, Any]) -> list[str]:
    """Keys that no transform of the library reads, but for a letter or two, a phrase each."""
    found = {key: suggestion(key, KEYS) for key in record if key not in KEYS}
    return [f"'{key}' is no key that the library reads.{near}" for key, near in found.items() if near]


def step_problem(step: Any, before: Any, after: Any, is_last: bool = False) -> str:
    """What is wrong with what a transform made of a record, as a sentence; empty where nothing is.

    Args:
        step: The transform.
        before: The record it was given.
        after: What it returned.
        is_last: The last of a pipeline may make anything that the collate function takes.

    Raises:
        RecordError: If boxes that it set beside unchanged pixels are none or lie outside, or were so before: they may
            be the annotation's.
    """
    name = step_name(step)
    if isinstance(after, Sample) or (is_last and not isinstance(after, Mapping)):
        return ""
    if not isinstance(after, Mapping):
        return (
            f"{name} returned {_kind(after)}; expected the record as a dict, None to drop it, or a Sample at the end."
        )
    if "where" not in after:
        return f"{name} lost 'where'. Return the record it was given with its changes: results | {{...}}."
    lost = [key for key in _PASSED_ON if isinstance(before, Mapping) and key in before and key not in after]
    if lost:
        return f"{name} lost '{lost[0]}'. Return the record it was given with its changes: record | {{...}}."
    problem = frames_problem(after.get("frames")) or _texts_problem(after.get("texts")) or pairs_problem(after)
    if problem:
        return f"{name}: {problem}"
    if getattr(step, "moves_pixels", None) not in (None, True, False):
        return f"{name}.moves_pixels is {step.moves_pixels!r}; expected True or False. {_DECLARATION}"
    return _boxes_problem(name, step, before, after)


def snapshot(record: Any) -> Any:
    """The record as it is: a step may change the dict that it is given, and return it."""
    if not isinstance(record, Mapping):
        return record
    kept = {"frames": list(record["frames"])} if isinstance(record.get("frames"), (list, tuple)) else {}
    boxes = record.get("boxes_xyxy_px")
    return {**record, **kept, **({"boxes_xyxy_px": boxes.copy()} if isinstance(boxes, np.ndarray) else {})}


def step_name(step: Callable) -> str:
    """The name of a transform: of a function its own, of an object that of its class."""
    return getattr(step, "__name__", None) or type(step).__name__


def _texts_problem(texts: Any) -> str:
    """Texts are a list of strings, or of pairs of strings that are encoded together."""
    if texts is None:
        return ""
    if not isinstance(texts, (list, tuple)):
        return f"texts is {_kind(texts)}; expected a list of strings, one for each pair."
    wrong = [text for text in texts if not isinstance(text, (str, tuple))]
    return f"a text is {_kind(wrong[0])}; expected a string." if wrong else ""


def frames_problem(frames: Any) -> str:
    """Frames are a list of ``[H, W, 3]`` uint8 arrays, RGB."""
    if frames is None:
        return ""
    if not isinstance(frames, (list, tuple)):
        return f"frames is {_kind(frames)}; expected a list of [H, W, 3] uint8 arrays, one for an image."
    if not frames:
        return "frames is empty; expected a list of [H, W, 3] uint8 arrays, one for an image. None drops a record."
    for frame in frames:
        if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            given = f"{frame.dtype} {list(frame.shape)}" if isinstance(frame, np.ndarray) else _kind(frame)
            return f"a frame is {given}; expected uint8 [H, W, 3], RGB of 0..255. PackSample makes the floats."
        if not frame.size:
            return f"a frame is empty, {list(frame.shape)}; expected uint8 [H, W, 3] with pixels. None drops a record."
    return ""


def pairs_problem(record: Mapping[str, Any]) -> str:
    """A record has as many boxes and identities as texts."""
    counts = {
        key: len(record[key]) for key in PER_PAIR if record.get(key) is not None and hasattr(record[key], "__len__")
    }
    if "boxes_xyxy_px" in counts and not any(record.get("has_box", ())):
        del counts["boxes_xyxy_px"]  # nobody reads them
    counts = {key: count for key, count in counts.items() if count or key in ("texts", "boxes_xyxy_px")}
    if "texts" not in counts or len(set(counts.values())) <= 1:
        return ""
    listed = ", ".join(f"{count} {key}" for key, count in counts.items())
    return f"the record has {listed}; expected as many of each, one for every pair of a text and its box."


def _boxes_problem(name: str, step: Any, before: Any, after: Mapping[str, Any]) -> str:
    """Pixels that moved without their boxes; a transform says by ``moves_pixels`` whether it moves them."""
    if not isinstance(before, Mapping) or not any(after.get("has_box", ())):
        return ""
    old, new = before.get("frames", ()), after.get("frames", ())
    sizes = [frame.shape[:2] for frame in (*old[:1], *new[:1])]
    kept = np.array_equal(before.get("boxes_xyxy_px"), after.get("boxes_xyxy_px"))
    if not old or (len(old) == len(new) and all(a is b for a, b in zip(old, new, strict=True))):
        if kept or not sizes or (problem := _box_format_problem(name, after, sizes[-1])):
            return "" if kept or not sizes else problem
        if problem := _box_values_problem(name, after, sizes[-1]):  # they may be the annotation's
            raise RecordError(str(after["where"]), problem)
        return ""
    moves = getattr(step, "moves_pixels", None)
    if kept and len(sizes) == 2 and sizes[0] != sizes[1]:
        message = " to ".join("{}x{}".format(*size) for size in sizes)
        return f"{name} changed the frames from {message} and left the boxes as they were. {_DECLARATION}"
    if moves is None and not all(np.array_equal(a, b) for a, b in zip(old, new, strict=False)):
        return f"{name} changes pixels of a record with boxes and does not say whether it moves them. {_DECLARATION}"
    if moves is False and not kept:
        return f"{name} moved boxes although it declares moves_pixels = False."
    problem = "" if kept else _box_format_problem(name, after, sizes[-1]) or _box_values_problem(name, after, sizes[-1])
    had_one = {"boxes_xyxy_px", "has_box"} <= before.keys() and not _box_format_problem("", before, sizes[0])
    if problem and had_one and (known := _box_values_problem("the record before", before, sizes[0])):
        raise RecordError(str(after["where"]), known)  # it came so: the step is not to blame
    return problem


def _box_format_problem(name: str, after: Mapping[str, Any], size: tuple[int, int]) -> str:
    """Boxes in another format or unit than (x0, y0, x1, y1) in pixels."""
    boxes = np.asarray(after["boxes_xyxy_px"], dtype=np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        return (
            f"{name} left boxes_xyxy_px {list(boxes.shape)}; {_BOXES}, for each of the {len(after['has_box'])} texts."
        )
    boxes = boxes[np.asarray(after["has_box"], bool)]
    if (boxes >= 0).all() and boxes.max() <= 1 < min(size):
        return f"{name} left the box {_rounded(boxes[0])}, as if in shares of the frame; {_BOXES}. " + (
            "PackSample makes the shares."
        )
    return ""


def _box_values_problem(name: str, after: Mapping[str, Any], size: tuple[int, int]) -> str:
    """Boxes that are none, or lie outside of their frame."""
    boxes = np.asarray(after["boxes_xyxy_px"], dtype=np.float32)[np.asarray(after["has_box"], bool)]
    if not np.isfinite(boxes).all():
        return f"{name} left the box {_rounded(boxes[~np.isfinite(boxes).all(axis=1)][0])}; {_BOXES}, and finite."
    if (boxes[:, 2:] < boxes[:, :2]).any():
        wrong = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0]
        return f"{name} left the box {_rounded(wrong)}, which is inside out; {_BOXES}."
    outside = ((boxes[:, :2] >= np.array(size)[::-1]) | (boxes[:, 2:] <= 0)).any(axis=1)
    if outside.any():
        height, width = size
        return (
            f"{name} left the box {_rounded(boxes[outside][0])}, outside of its frame of {height}x{width} (rows x "
            f"columns); {_BOXES}. Drop such pairs from texts, ids, has_box and boxes_xyxy_px."
        )
    return ""


def _rounded(box: np.ndarray) -> list[float]:
    return [round(float(value), 2) for value in box]


def _kind(value: Any) -> str:
    return (
        "None"
        if value is None
        else f"{'an' if type(value).__name__[0].lower() in 'aeiou' else 'a'} {type(value).__name__}"
    )
