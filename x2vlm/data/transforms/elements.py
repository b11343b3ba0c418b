"""Elements of an annotated image (objects and regions with boxes): validity of boxes, kinds, languages."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from x2vlm.data.record import Record, RecordError, identity
from x2vlm.data.transforms.geometry import frame_size

Box = tuple[float, float, float, float]

SLACK_PX = 1e-3
"""Tolerance for boxes that reach out of their image: annotations are rounded."""


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
        raise RecordError(results["where"], f"no element is usable. {'; '.join(problems[:3])}{others}")
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
    """The box of an element, xyxy in pixels.

    Raises:
        ValueError: If it is no box, has no area, or reaches out of the image.
    """
    try:
        x, y, w, h = (float(number) for number in elem["bb"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"its box is {elem.get('bb')!r:.60}; expected four numbers x, y, w, h") from error
    low, right, bottom = min(x, y), width + SLACK_PX, height + SLACK_PX
    if not (low >= -SLACK_PX and x + w <= right and y + h <= bottom and min(w, h) > 0):  # false for NaN as well
        raise ValueError(f"its box x={x:g} y={y:g} w={w:g} h={h:g} is not inside the {width}x{height} image")
    return max(x, 0.0), max(y, 0.0), min(x + w, float(width)), min(y + h, float(height))


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
