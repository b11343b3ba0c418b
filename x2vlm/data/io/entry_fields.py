"""Fields of parsed annotation entries, of the type that a format says, or a bad record that names what is there."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from x2vlm.data.record import RecordError


def text_field(entry: Mapping[str, Any], key: str, where: str) -> str:
    """A text.

    Raises:
        RecordError: If there is none under ``key``.
    """
    return _field(entry, key, str, "a text", where)


def number_field(entry: Mapping[str, Any], key: str, where: str) -> float:
    """A number, which may be written as text.

    Raises:
        RecordError: If there is none under ``key``.
    """
    value = entry.get(key) if isinstance(entry, Mapping) else None
    try:
        if isinstance(value, bool) or not abs(number := float(value)) < 2**53:  # false for NaN as well
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise RecordError(where, _complaint(entry, key, "a number")) from error
    return number


def id_field(entry: Mapping[str, Any], key: str, where: str) -> str:
    """An identity, a text or a whole number, as text.

    Raises:
        RecordError: If there is none under ``key``.
    """
    value = _field(entry, key, int | str | float, "a number or a text", where)
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def list_field(entry: Mapping[str, Any], key: str, where: str) -> list[Any]:
    """A list.

    Raises:
        RecordError: If there is none under ``key``.
    """
    return _field(entry, key, list, "a list", where)


def object_field(entry: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """An inner object.

    Raises:
        RecordError: If there is none under ``key``.
    """
    return _field(entry, key, dict, "an object", where)


def texts_of(values: Sequence[Any], what: str, where: str) -> list[str]:
    """The texts of a list of texts.

    Raises:
        RecordError: If one is no text.
    """
    wrong = [value for value in values if not isinstance(value, str)]
    if wrong:
        raise RecordError(where, f"{what}: expected texts, got {wrong[0]!r:.60}")
    return list(values)


def rows_of(values: Sequence[Any], what: str, where: str) -> list[dict[str, Any]]:
    """The objects of a list of objects.

    Raises:
        RecordError: If one is none.
    """
    wrong = [value for value in values if not isinstance(value, dict)]
    if wrong:
        raise RecordError(where, f"{what}: expected objects, got {wrong[0]!r:.60}")
    return list(values)


def url_parts(url: str, count: int) -> str:
    """The last ``count`` parts of an address, as a path: ``"VG_100K/1.jpg"``."""
    path = url.partition("#")[0].partition("?")[0].rpartition("://")[2]
    return "/".join(unquote(path).strip("/").split("/")[-count:])


def _field(entry: Mapping[str, Any], key: str, kind: Any, wanted: str, where: str) -> Any:
    value = entry.get(key) if isinstance(entry, Mapping) else None
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecordError(where, _complaint(entry, key, wanted))
    return value


def _complaint(entry: Any, key: str, wanted: str) -> str:
    if not isinstance(entry, Mapping):
        return f"expected an object with {key!r}, got {entry!r:.60}"
    if key not in entry:
        return f"has no {key!r} ({wanted}), only {', '.join(map(str, sorted(entry, key=str)))[:200] or 'nothing'}"
    return f"{key}: expected {wanted}, got {entry[key]!r:.60}"
