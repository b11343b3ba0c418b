"""Arrays of structs in MATLAB files (level 5): texts and single numbers of their fields, and nothing else.

scipy's own reader ends the process at some damaged files, so it is not used for files that were downloaded.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Any

_HEADER, _MAX_BYTES = 128, 2**26
_COMPRESSED, _MATRIX = 15, 14
_STRUCT, _CHARS, _NUMBERS = 2, 4, range(6, 16)  # classes of arrays
_CODES = {1: "b", 2: "B", 3: "h", 4: "H", 5: "i", 6: "I", 7: "f", 9: "d", 12: "q", 13: "Q"}  # types of elements
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16-le", 16: "utf-8", 17: "utf-16-le"}


def read_structs(data: bytes, name: str) -> list[dict[str, Any]]:
    """The structs of the array of that name, by field; None for a field that is no text and no single number.

    Args:
        data: The file.
        name: The name of the variable.

    Raises:
        ValueError: If it is no such file, is damaged, or has no such array of structs.
    """
    if len(data) < _HEADER or data[126:128] != b"IM":
        raise ValueError("it is no MATLAB file of level 5 with the least byte first")
    try:
        for kind, payload in _elements(data[_HEADER:]):
            if kind == _COMPRESSED:
                inner = zlib.decompressobj().decompress(payload, _MAX_BYTES)
                kind, payload = next(_elements(inner))
            if kind == _MATRIX:
                found = _structs(payload, name)
                if found is not None:
                    return found
    except (zlib.error, struct.error, StopIteration, UnicodeDecodeError) as error:
        raise ValueError(f"it is damaged: {error!r}") from error
    raise ValueError(f"it has no array of structs called {name!r}")


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and bytes of each element."""
    position = 0
    while position + 8 <= len(data):
        first, size = struct.unpack_from("<II", data, position)
        if first >> 16:  # a small one: its size beside its type, its bytes behind
            yield first & 0xFFFF, data[position + 4 : position + 4 + min(first >> 16, 4)]
            position += 8
            continue
        start = position + 8
        if size > len(data) - start:
            raise ValueError(f"an element of {size:,} bytes reaches beyond the end")
        yield first, data[start : start + size]
        position = start + size + (0 if first == _COMPRESSED else -size % 8)


def _array(payload: bytes) -> tuple[int, int, str, Iterator[tuple[int, bytes]]]:
    """Class, number of entries and name of an array, and the elements that follow."""
    elements = _elements(payload)
    flags, shape, name = next(elements)[1], next(elements)[1], next(elements)[1]
    count = 1
    for side in struct.unpack(f"<{len(shape) // 4}i", shape):
        count *= max(side, 0)
    return struct.unpack_from("<I", flags)[0] & 0xFF, count, name.decode("latin-1"), elements


def _structs(payload: bytes, wanted: str) -> list[dict[str, Any]] | None:
    kind, count, name, elements = _array(payload)
    if kind != _STRUCT or name != wanted:
        return None
    length = struct.unpack_from("<i", next(elements)[1])[0]
    listed = next(elements)[1]
    if not 0 < length <= 64 or not listed:
        raise ValueError(f"names of fields have {length} letters")
    fields = [listed[i : i + length].rstrip(b"\0").decode("latin-1") for i in range(0, len(listed), length)]
    values = [_value(inner) for _, inner in elements]  # as many as there are bytes for, whatever the shape says
    if len(values) != count * len(fields):
        raise ValueError(f"{count} structs of {len(fields)} fields are stated, and {len(values)} values are there")
    return [dict(zip(fields, values[i : i + len(fields)], strict=True)) for i in range(0, len(values), len(fields))]


def _value(payload: bytes) -> Any:
    if not payload:
        return None
    kind, count, _, elements = _array(payload)
    if kind == _CHARS:
        code, data = next(elements, (2, b""))
        return data.decode(_TEXTS[code]) if code in _TEXTS else None
    if kind in _NUMBERS and count == 1:
        code, data = next(elements)
        return struct.unpack_from(f"<{_CODES[code]}", data)[0] if code in _CODES else None
    return None
