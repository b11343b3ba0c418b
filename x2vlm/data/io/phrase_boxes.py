"""Elements from phrases of captions and the boxes of their entities, as in Flickr30k Entities."""

from collections.abc import Mapping, Sequence
from typing import Any

from x2vlm.data.record import RecordError

MULTI_BOX = ("union", "first", "each", "skip")

Box = tuple[float, float, float, float]


def phrase_elements(
    phrases: Sequence[Mapping[str, Any]],
    entities: Mapping[str, Mapping[str, Any]],
    where: str,
    multi_box: str = "union",
    unique: bool = False,
) -> list[dict[str, Any]]:
    """One element for each phrase whose entity has a box.

    Args:
        phrases: ``dict(text=..., ent=...)``; ``ent`` is the id of the entity it refers to.
        entities: By id, ``dict(boxes=[[x, y, width, height], ...], types=[...])`` in pixels.
        where: ``file:line`` of the record, for messages.
        multi_box: The element of a phrase with several boxes ("two dogs"). ``union``: the smallest box around all,
            against which most work scores grounding on Flickr30k Entities (merged boxes); ``first``: the first box;
            ``each``: an element for every box; ``skip``: no element.
        unique: Keep one of several phrases with the same words for the same entity; five captions of a photograph often
            name a thing alike. Grounding benchmarks count them all.

    Returns:
        ``dict(bb, caption, kind="region", entity, types)`` each, in the order of the phrases.

    Raises:
        RecordError: If a phrase or a box is of another shape.
    """
    elems, seen = [], set()
    try:
        for phrase in phrases:
            text, entity = phrase["text"], entities.get(phrase["ent"], {})
            if unique and (text.lower(), phrase["ent"]) in seen:
                continue
            seen.add((text.lower(), phrase["ent"]))
            for box in _boxes_of_phrase([_box(box) for box in entity.get("boxes", ())], multi_box):
                tags = {"kind": "region", "entity": phrase["ent"], "types": entity.get("types", [])}
                elems.append({"bb": box, "caption": text, **tags})
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise RecordError(where, f"phrases or entities of an unknown shape: {error!r}") from error
    return elems


def _box(values: Sequence[float]) -> Box:
    x, y, width, height = values
    return float(x), float(y), float(width), float(height)


def _boxes_of_phrase(boxes: list[Box], multi_box: str) -> list[Box]:
    if len(boxes) <= 1 or multi_box == "each":
        return boxes
    if multi_box == "union":
        return [enclosing_box(boxes)]
    return boxes[:1] if multi_box == "first" else []


def enclosing_box(boxes: Sequence[Box]) -> Box:
    """The smallest box around ``boxes``, all (x, y, width, height)."""
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return left, top, right - left, bottom - top
