"""Elements of an annotated image (objects and regions with boxes): validity of boxes, kinds, languages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from x2vlm.data.io.box_rules import Box, fitting_convention, read_box, xywh_inside
from x2vlm.data.record import Record, RecordError, identity
from x2vlm.data.transforms.images.geometry import frame_size


class Element(NamedTuple):
    """A usable element: its box, xyxy in pixels of the whole image, its text, its identity, its kind and its extras."""

    box: Box
    text: str
    id: str
    kind: str | None = None
    extras: Mapping[str, Any] = {}


def usable_elements(results: Record, texts_of: Callable[[dict], list[str]]) -> tuple[list[Element], int]:
    """The elements of a record with a box inside the image and a text.

    Args:
        results: The record, with ``frames`` as big as the annotated image.
        texts_of: The texts of an element; raises ValueError where there are none.

    Returns:
        One element for each text, and how many elements were left out.

    Raises:
        RecordError: If there are elements, and none of them is usable; the message lists the first few.
    """
    height, width = frame_size(results)
    name, elements, problems = identity(results), [], []
    for number, elem in enumerate(results["elems"]):
        try:
            box = box_inside(elem, width, height)
            kind, extras = elem.get("kind"), elem.get("extras", {})
            elements += [Element(box, text, f"{name}#{box}", kind, extras) for text in texts_of(elem)]
        except ValueError as error:
            problems.append(f"elems[{number}] {str(elem.get('caption'))[:40]!r}: {error}")
    if problems and not elements:
        others = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        hint = fitting_convention([elem.get("bb") for elem in results["elems"]], width, height)
        raise RecordError(results["where"], f"no element is usable. {'; '.join(problems[:3])}{others}{hint}")
    return elements, len(problems)


def languages_of(elem: dict) -> list[str | None]:
    """The languages in which an element has a caption; ``[None]`` where captions are not by language.

    Raises:
        ValueError: If they are, but there is none.
    """
    caption = elem.get("caption")
    if not isinstance(caption, dict):
        return [None]
    languages = [name for name, texts in caption.items() if texts]
    if not languages:
        raise ValueError("it has no caption in any language")
    return languages


def box_inside(elem: dict, width: int, height: int) -> Box:
    """The box of an element, xyxy in pixels, small overhangs cut; see :mod:`x2vlm.data.io.box_rules`.

    Raises:
        ValueError: If it is no box, is smaller than a pixel, or reaches far out of the image.
    """
    x, y, w, h = xywh_inside(read_box(elem.get("bb")), width, height)
    return x, y, x + w, y + h


def on_real_size(results: Record, size: tuple[int, int], rescale: bool) -> Record:
    """The record with its boxes on the image that is there, whatever size its annotation states.

    Args:
        results: The record; ``stated_size`` is the (width, height) that its boxes were annotated on, if it says so.
        size: Height and width of the image in pixels.
        rescale: Whether boxes follow an image of another size and the same aspect.

    Raises:
        RecordError: If the sizes differ, and they may not or cannot.
    """
    stated, (height, width) = results.get("stated_size"), size
    if results.get("boxes_are_shares"):
        elems = [_rescaled(elem, width, height) for elem in results["elems"]]
        return results | {"elems": elems, "boxes_are_shares": False}
    if stated is None or tuple(stated) == (width, height):
        return results
    factors = width / stated[0], height / stated[1]
    mismatch = f"{stated[0]:g}x{stated[1]:g} are stated, but the image has {width}x{height} pixels"
    # A side is rounded to whole pixels when an image is rescaled.
    if abs(stated[0] * height - stated[1] * width) > max(width, height, *stated):
        raise RecordError(results["where"], f"{mismatch}, another aspect: its boxes do not belong to this image")
    if not rescale:
        advice = "LoadImage(rescale_boxes=True) lets the boxes follow"
        raise RecordError(results["where"], f"{mismatch}: its boxes were made for another copy; {advice}")
    return results | {"elems": [_rescaled(elem, *factors) for elem in results["elems"]], "stated_size": (width, height)}


def _rescaled(elem: dict, across: float, down: float) -> dict:
    try:
        x, y, w, h = read_box(elem.get("bb"))
    except ValueError:
        return elem  # reported when elements are chosen
    return {**elem, "bb": (x * across, y * down, w * across, h * down)}


def parse_kinds(kinds: Sequence[str] | None) -> tuple[str, ...] | None:
    """Kinds as a config gives them.

    Raises:
        ValueError: If it is a string (its letters would be taken for kinds) or empty.
    """
    if kinds is None:
        return None
    if isinstance(kinds, str) or not kinds:
        raise ValueError(f"kinds is {kinds!r}; expected a sequence such as ('object', 'region'), or None for all")
    return tuple(kinds)


def elements_of_kinds(results: Record, kinds: Sequence[str] | None) -> list[dict]:
    """The record's elements of these kinds; all for None."""
    return [elem for elem in results.get("elems", ()) if kinds is None or elem.get("kind") in kinds]
