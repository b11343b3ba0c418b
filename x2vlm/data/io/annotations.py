"""Values out of parsed annotations: by dotted key, captions in their three shapes, elements with boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

from x2vlm.data.record import RecordError

Keys = str | Sequence[str] | None
"""A key, several in order of preference, or none. ``"multi30k.de"`` looks into an inner object."""

Captions = str | list[str] | dict[str, "str | list[str]"]


def first_value(data: Mapping[str, Any], keys: Keys) -> Any:
    """The first of ``keys`` that has a value other than null; None if there is none."""
    found = first_item(data, keys)
    return None if found is None else found[1]


def first_item(data: Mapping[str, Any], keys: Keys) -> tuple[str, Any] | None:
    """The same with the key that had it."""
    for key in _as_sequence(keys):
        value = _lookup(data, key)
        if value is not None:
            return key, value
    return None


def _as_sequence(keys: Keys) -> Sequence[str]:
    return () if keys is None else (keys,) if isinstance(keys, str) else keys


def _lookup(data: Any, key: str) -> Any:
    if not isinstance(data, Mapping):
        return None
    if key in data:
        return data[key]
    outer, _, inner = key.partition(".")
    return _lookup(data.get(outer), inner) if inner else None


def read_captions(data: Mapping[str, Any], keys: Keys | Mapping[str, Keys], where: str) -> Captions | None:
    """The captions of a record.

    Args:
        data: The parsed annotation.
        keys: Where they are; or a dict from language to where those of that language are. Languages that a record
            lacks are left out.
        where: The record's place, for messages.

    Returns:
        A string, a list of strings or a dict from language to either; None if there is no caption.

    Raises:
        RecordError: If what is there is of another shape.
    """
    if isinstance(keys, Mapping):
        value = {language: first_value(data, inner) for language, inner in keys.items()}
    else:
        value = first_value(data, keys)
    if isinstance(value, dict):
        value = {language: one for language, one in value.items() if one not in (None, [], "")}
    parts = list(value.values()) if isinstance(value, dict) else [value]
    if not parts or parts[0] in (None, []):
        return None
    for part in parts:
        if not isinstance(part, str) and not (isinstance(part, list) and all(isinstance(one, str) for one in part)):
            raise RecordError(where, f"caption: expected a string or a list of strings, got {part!r:.80}")
    return value


def read_elements(value: Any, where: str, kind: str | None = None) -> list[dict[str, Any]]:
    """The elements of an image, as they are: things with a box ``bb`` (x, y, width, height in pixels) and a caption.

    Boxes and captions are checked when elements are picked: one that is wrong must not cost the others.

    Args:
        value: A list of objects with ``bb``, ``caption`` and perhaps ``attributes`` and ``kind``.
        where: The record's place, for messages.
        kind: ``"object"`` or ``"region"`` for elements that do not say it themselves; None leaves them untagged.

    Raises:
        RecordError: If it is no list of objects.
    """
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise RecordError(where, f"elems: expected a list of objects, got {value!r:.80}")
    return [{"kind": kind, **one} for one in value] if kind else value


def read_size(data: Mapping[str, Any], width: Keys, height: Keys, where: str) -> dict[str, tuple[float, float]]:
    """``stated_size``, the size in pixels of the image that boxes were annotated on; nothing where it is not stated.

    Raises:
        RecordError: If what is stated is no size.
    """
    sides = first_value(data, width), first_value(data, height)
    if None in sides:
        return {}
    if not all(isinstance(side, int | float) and 0 < side < 2**31 for side in sides):
        raise RecordError(where, f"width and height: expected numbers of pixels, got {sides!r:.80}")
    return {"stated_size": sides}
