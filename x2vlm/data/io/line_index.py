"""Random access to the lines of text files and the entries of JSON arrays: byte offsets are indexed once."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.io.limits import MAX_BYTES
from x2vlm.data.io.paths import refuse_compressed
from x2vlm.data.record import RecordError

PUBLIC_FILE = "If it is the file of a public data set, it has an adapter of its own (docs/public_data.md)."
"""Ends messages about files that hold something else than records."""

_CHUNK = 2**24
_BLANKS = b" \t\r"
_WHITE = re.compile(r"[ \t\r\n]*")


class LineIndex:
    """The lines of several files under one index, from 0.

    Holds eight bytes a line (sixteen in files with blank lines, and for entries of arrays) and no open file.

    Args:
        files: Text files, in order.
        skip_blank: Leave blank lines out. Aligned (parallel) files must keep theirs.
        arrays: A file that starts with ``[`` is a JSON array, whose entries are indexed as lines.
        max_bytes: Longer lines and entries are not read.

    Raises:
        ValueError: If such an array is broken, or a file is compressed.
    """

    def __init__(
        self, files: Sequence[Path], skip_blank: bool = True, arrays: bool = False, max_bytes: int = MAX_BYTES
    ) -> None:
        self.files, self.max_bytes = list(files), max_bytes
        for file in self.files:
            refuse_compressed(file)
        entries = [_entries(file) if arrays and _starts_array(file) else None for file in self.files]
        starts_and_numbers = [
            (spans[:, 0], None) if spans is not None else _line_starts(file, skip_blank)
            for file, spans in zip(self.files, entries, strict=True)
        ]
        self._stops = [None if spans is None else spans[:, 1] for spans in entries]
        self._starts = [starts for starts, _ in starts_and_numbers]
        self._numbers = [numbers for _, numbers in starts_and_numbers]
        self._ends = np.cumsum([len(starts) for starts in self._starts])
        names = [file.name for file in self.files]
        self._labels = names if len(set(names)) == len(names) else [str(file) for file in self.files]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def where(self, index: int) -> str:
        """``file:line``, counted from 1 as editors do, or ``file[entry]`` of an array, from 0 as programs do."""
        file, line = self._locate(index)
        if self._stops[file] is not None:
            return f"{self._labels[file]}[{line}]"
        numbers = self._numbers[file]
        return f"{self._labels[file]}:{(line if numbers is None else int(numbers[line])) + 1}"

    def file(self, index: int) -> Path:
        """The file that holds a line."""
        return self.files[self._locate(index)[0]]

    def text(self, index: int) -> str:
        """A line, without its end, or an entry of an array.

        Raises:
            RecordError: If it is not UTF-8, or longer than ``max_bytes``.
        """
        file, line = self._locate(index)
        # Opened for each read: a handle shared by forked workers would share its position, and cannot be pickled.
        with open(self.files[file], "rb") as handle:
            start = int(self._starts[file][line])
            handle.seek(start)
            limit = self.max_bytes + 1
            stop = None if self._stops[file] is None else int(self._stops[file][line])
            data = handle.readline(limit) if stop is None else handle.read(min(stop - start, limit))
        if len(data) == limit:
            reason = f"is longer than the limit of {self.max_bytes:,} bytes (limits.max_bytes)"
            raise RecordError(self.where(index), reason)
        try:
            return data.decode("utf-8-sig" if line == 0 else "utf-8").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise RecordError(self.where(index), f"not UTF-8: {error}") from error

    def json(self, index: int) -> dict[str, Any]:
        """The object on a line of JSON, or in an entry of an array.

        Raises:
            RecordError: If the line is broken or holds something other than an object.
        """
        line = self.text(index)
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
            raise RecordError(self.where(index), f"broken JSON: {error}") from error
        if not isinstance(value, dict):
            raise RecordError(self.where(index), f"expected a JSON object {{...}}, got {line[:60]!r}")
        return value

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"line {index} of {len(self)}")
        file = int(np.searchsorted(self._ends, index, side="right"))
        return file, index - (int(self._ends[file - 1]) if file else 0)


def json_lines(files: Sequence[Path], option: str, max_bytes: int = MAX_BYTES) -> LineIndex:
    """An index of files with one JSON object a line, or with one JSON array of objects.

    Raises:
        ValueError: If a file is empty, or holds an array that is empty or broken.
    """
    for file in files:
        if not _first_byte(file):
            raise ValueError(f"{option}: {file} is empty; expected JSON objects, one a line or in an array")
        if _is_one_object(file):
            raise ValueError(
                f"{option}: {file} is one JSON object over several lines; expected objects, one a line or in an array. "
                f"{PUBLIC_FILE}"
            )
    return LineIndex(files, arrays=True, max_bytes=max_bytes)


def _first_byte(path: Path) -> bytes:
    with open(path, "rb") as handle:
        return handle.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]


def _is_one_object(path: Path) -> bool:
    """Whether the first line only begins an object, as in files written to be read by people."""
    if _first_byte(path) != b"{":
        return False
    with open(path, "rb") as handle:
        line = next((line for line in handle if line.strip()), b"").lstrip(b"\xef\xbb\xbf").strip()
        following = next((line for line in handle if line.strip()), b"").strip()
    return line.startswith(b"{") and line.endswith((b"{", b"[", b",", b":")) and following[:1] not in (b"", b"{")


def _starts_array(path: Path) -> bool:
    return _first_byte(path) == b"["


def _entries(path: Path) -> np.ndarray:
    """``[n, 2]``: the bytes at which each entry of a JSON array starts and stops. Reads all of the file once.

    Raises:
        ValueError: If it is not UTF-8, broken, cut short or empty.
    """
    data = path.read_bytes()
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8: {error}") from error
    spans, scan, position = [], json.JSONDecoder().raw_decode, text.index("[")
    try:
        while not spans or text[position] == ",":
            start = _WHITE.match(text, position + 1).end()
            stop = scan(text, start)[1]
            spans.append((start, stop))
            position = _WHITE.match(text, stop).end()
        if text[position] != "]" or text[position + 1 :].strip():
            raise ValueError(f"expected ',' or ']' and the end, got {text[position : position + 20]!r}")
    except (ValueError, IndexError, RecursionError) as error:
        if not spans and text[position + 1 :].strip() == "]":
            raise ValueError(f"{path} holds an empty JSON array") from error
        raise ValueError(f"{path} holds a JSON array that breaks after {len(spans)} entries: {error}") from error
    offsets = np.array(spans, dtype=np.int64)
    return offsets if text.isascii() else to_byte_offsets(text, offsets)


def to_byte_offsets(text: str, offsets: np.ndarray) -> np.ndarray:
    """Byte offsets in UTF-8 of ascending character offsets, in the same shape."""
    ends = offsets.ravel().tolist()
    sizes = [len(text[a:b].encode()) for a, b in zip([0, *ends], ends, strict=False)]
    return np.cumsum(sizes, dtype=np.int64).reshape(offsets.shape)


def _line_starts(path: Path, skip_blank: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Byte offset of each line, and its number from 0 where some are left out (None: all are there)."""
    size = path.stat().st_size
    if size == 0:
        return np.zeros(0, dtype=np.int64), None
    data = np.memmap(path, dtype=np.uint8, mode="r")
    chunks = [np.flatnonzero(data[i : i + _CHUNK] == ord("\n")) + i for i in range(0, size, _CHUNK)]
    ends = np.concatenate(chunks).astype(np.int64)
    if not len(ends) or ends[-1] != size - 1:
        ends = np.append(ends, size)  # the last line has no end
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)
    if not skip_blank:
        return starts, None
    lengths = ends - starts
    blank = lengths == 0
    # A line that begins with a blank may hold nothing else; few do.
    doubtful = np.flatnonzero(
        ~blank & (lengths < _CHUNK) & np.isin(data[np.minimum(starts, size - 1)], np.frombuffer(_BLANKS, np.uint8))
    )
    for row in doubtful.tolist():
        blank[row] = not data[starts[row] : ends[row]].tobytes().strip(_BLANKS)
    return (starts[~blank], np.flatnonzero(~blank)) if blank.any() else (starts, None)
