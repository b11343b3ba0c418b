"""Read parsed annotations: values by dotted key, captions in their three shapes, elements with boxes."""

from collections.abc import Mapping, Sequence
from typing import Any

from x2vlm.data.record import RecordError

Keys = str | Sequence[str] | None
"""A key, several in order of preference, or none. ``"multi30k.de"`` is the key ``de`` of the object ``multi30k``."""

Captions = str | list[str] | dict[str, "str | list[str]"]


def first_value(data: Mapping[str, Any], keys: Keys) -> Any:
    """The first of ``keys`` that has a value other than null; None if there is none."""
    item = first_item(data, keys)
    return None if item is None else item[1]


def first_item(data: Mapping[str, Any], keys: Keys) -> tuple[str, Any] | None:
    """The first of ``keys`` that has a value other than null, and the value; None if there is none."""
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
        keys: Their key, or a dict from language to key. Languages that a record lacks are left out.
        where: ``file:line`` of the record, for messages.

    Returns:
        A string, a list of strings or a dict from language to either; None if there is no caption.

    Raises:
        RecordError: If the value is of another shape.
    """
    if isinstance(keys, Mapping):
        value = {language: first_value(data, inner) for language, inner in keys.items()}
    else:
        value = first_value(data, keys)
    if isinstance(value, dict):
        value = {language: texts for language, texts in value.items() if texts not in (None, [], "")}
    values = list(value.values()) if isinstance(value, dict) else [value]
    if not values or values[0] in (None, []):
        return None
    for texts in values:
        if not isinstance(texts, str) and not _is_list_of(str, texts):
            raise RecordError(where, f"caption: expected a string or a list of strings, got {texts!r:.80}")
    return value


def read_elements(value: Any, where: str, kind: str | None = None) -> list[dict[str, Any]]:
    """Objects and regions of an image, each with a box ``bb`` (x, y, width, height in pixels) and a caption.

    Boxes and captions are checked by the transforms: a broken element must not cost the others.

    Args:
        value: A list of objects with ``bb``, ``caption`` and perhaps ``attributes`` and ``kind``.
        where: ``file:line`` of the record, for messages.
        kind: ``"object"`` or ``"region"`` for elements without a kind; None leaves them without.

    Raises:
        RecordError: If it is no list of objects.
    """
    if not _is_list_of(dict, value):
        raise RecordError(where, f"elems: expected a list of objects, got {value!r:.80}")
    return [{"kind": kind, **element} for element in value] if kind else value


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


def _is_list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, kind) for entry in value)
