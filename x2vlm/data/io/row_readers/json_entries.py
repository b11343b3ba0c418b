"""Entries of a JSON file that is one array or one object, read by number: what most public data sets are.

The file is parsed once, entry by entry, to note where each stands; afterwards an entry is one seek.
"""

import json
import re
from collections.abc import Callable, Generator, Hashable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.line_index import to_byte_offsets
from x2vlm.data.io.paths import existing_file, refuse_compressed
from x2vlm.data.record import RecordError

_WHITE = re.compile(r"[ \t\r\n]*")


class JsonEntries:
    """The entries of an array, or the values of an object.

    Holds 16 bytes an entry, the names of an object's values, and what ``id_of`` gave; no open file.

    Attributes:
        names: The names of an object's values; None for an array.
        ids: What ``id_of`` gave for each entry (its name, in an object, where there is no ``id_of``).

    Args:
        path: The file.
        option: The option that named it, for messages.
        key: Look into this member of an outer object, e.g. ``"images"`` of ``{"images": [...], "dataset": "coco"}``.
        id_of: From an entry to what it is looked up by; None for entries without.
        max_bytes: Longer entries are not read.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is broken, of another shape, or has no entries.
    """

    def __init__(
        self,
        path: str | PathLike,
        option: str,
        key: str | None = None,
        id_of: Callable[[Any], Hashable] | None = None,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self.path, self.key, self.max_bytes = existing_file(path, option), key, max_bytes
        self.names: list[str] | None = None
        self.ids: list[Hashable] = []
        text = _decoded(self.path, option)
        spans = []
        try:
            for name, start, stop, entry in _entries(text, key):
                spans.append((start, stop))
                if name is not None:
                    self.names = self.names or []
                    self.names.append(name)
                if id_of is not None or name is not None:
                    self.ids.append(name if id_of is None else id_of(entry))
        except (ValueError, IndexError, RecursionError) as error:
            inner = "" if key is None else f" under {key!r}"
            reason = "it ends in the middle" if isinstance(error, IndexError) else error
            raise ValueError(f"{option}: {self.path} breaks{inner} after {len(spans)} entries: {reason}") from error
        if not spans:
            raise ValueError(f"{option}: {self.path} has no entries{'' if key is None else f' under {key!r}'}")
        found = np.array(spans, dtype=np.int64)
        self._spans = found if text.isascii() else to_byte_offsets(text, found)
        self._positions = {one: position for position, one in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self._spans)

    def where(self, index: int) -> str:
        """``file.json[17]``, counted from 0, or ``file.json['name']``."""
        return f"{self.path.name}[{index if self.names is None else repr(self.names[index])}]"

    def position(self, identity: Hashable) -> int | None:
        """The number of the (last) entry of that identity; None if there is none."""
        return self._positions.get(identity)

    def read(self, index: int) -> dict[str, Any]:
        """An entry.

        Raises:
            RecordError: If it is no object, or longer than ``max_bytes``.
        """
        start, stop = self._spans[index].tolist()
        if stop - start > self.max_bytes:
            raise RecordError(self.where(index), f"is longer than {self.max_bytes:,} bytes (limits.max_bytes)")
        with open(self.path, "rb") as handle:
            handle.seek(start)
            data = handle.read(stop - start)
        try:
            value = json.loads(data)
        except ValueError as error:
            raise RecordError(self.where(index), f"{self.path} has changed since it was opened: {error}") from error
        if not isinstance(value, dict):
            raise RecordError(self.where(index), f"expected an object, got {value!r:.60}")
        return value


def member(path: str | PathLike, option: str, key: str) -> Any:
    """One small member of the outer object of a file; None where there is none.

    Raises:
        ValueError: If the file is broken before it.
    """
    path = existing_file(path, option)
    text = _decoded(path, option)
    try:
        return next((value for name, _, value in _members(text, _skip(text, 0)) if name == key), None)
    except (ValueError, IndexError, RecursionError) as error:
        raise ValueError(f"{option}: {path} is broken: {error}") from error


def _decoded(path: Path, option: str) -> str:
    refuse_compressed(path, option)
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {path} is not UTF-8: {error}") from error


def _skip(text: str, position: int) -> int:
    return _WHITE.match(text, position).end()


def _entries(text: str, key: str | None) -> Iterator[tuple[str | None, int, int, Any]]:
    """Name (of an object's values), start, stop and value of each entry."""
    position = _skip(text, 1 if text.startswith("\ufeff") else 0)
    if key is not None:
        for name, start, _ in _members(text, position, stop_at=key):
            if name == key:
                position = start
                break
        else:
            raise ValueError(f"it has no {key!r}")
    if text[position] == "{":
        end = yield from _values(text, position)
    elif text[position] == "[":
        end = yield from _array(text, position)
    else:
        raise ValueError(f"expected an array or an object, got {text[position : position + 20]!r}")
    rest = _skip(text, end)
    if key is None and rest < len(text):
        raise ValueError(f"behind its end stands {text[rest : rest + 20]!r}; JSON lines are another format")


def _values(text: str, position: int) -> Generator[tuple[str, int, int, Any], None, int]:
    """Name, start, stop and value of each member of the object at ``position``; gives where the object ends."""
    members = _members(text, position)
    while True:
        try:
            name, (start, stop), value = next(members)
        except StopIteration as end:
            return end.value
        yield name, start, stop, value


def _members(text: str, position: int, stop_at: str | None = None) -> Generator[tuple[str, Any, Any], None, int | None]:
    """Name, place and value of each member of the object at ``position``; before ``stop_at`` its start, unparsed.

    Gives where the object ends, unless it stopped before.
    """
    scan = json.JSONDecoder().raw_decode
    if text[position] != "{":
        raise ValueError(f"expected an object, got {text[position : position + 20]!r}")
    position = _skip(text, position + 1)
    while text[position] != "}":
        name, position = scan(text, position)
        position = _skip(text, position)
        if not isinstance(name, str) or text[position] != ":":
            raise ValueError(f"expected a name and ':' at {text[position : position + 20]!r}")
        start = _skip(text, position + 1)
        if stop_at is not None and name == stop_at:
            yield name, start, None
            return None
        value, position = scan(text, start)
        yield name, (start, position), value
        position = _skip(text, position)
        if text[position] == ",":
            position = _skip(text, position + 1)
        elif text[position] != "}":
            raise ValueError(f"expected ',' or '}}', got {text[position : position + 20]!r}")
    return position + 1


def _array(text: str, position: int) -> Generator[tuple[None, int, int, Any], None, int]:
    """Start, stop and value of each entry of the array at ``position``; gives where the array ends."""
    scan = json.JSONDecoder().raw_decode
    position = _skip(text, position + 1)
    while text[position] != "]":
        value, stop = scan(text, position)
        yield None, position, stop, value
        position = _skip(text, stop)
        if text[position] == ",":
            position = _skip(text, position + 1)
        elif text[position] != "]":
            raise ValueError(f"expected ',' or ']', got {text[position : position + 20]!r}")
    return position + 1
