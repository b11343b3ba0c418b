"""Paths of configs (files and folders must exist) and of annotations (files must lie inside a root folder)."""

import errno
import json
import os
import re
import stat
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO

from x2vlm.data.record import RecordError
from x2vlm.part_errors import ConfigError

PathLike = str | os.PathLike

_COMPRESSED = (
    ("gzip", b"\x1f\x8b", "gunzip"),
    ("bzip2", b"BZh", "bunzip2"),
    ("xz", b"\xfd7zXZ\0", "unxz"),
    ("zip", b"PK\x03\x04", "unzip"),
)

_MAX_DIGITS = 40  # of a number in the name of a file


def existing_file(path: PathLike, option: str) -> Path:
    """``path``, if it is a file.

    Args:
        path: A file; ``~`` is the home folder.
        option: The option that named it, for the message.

    Raises:
        FileNotFoundError: If it is not there; says relative to which folder.
    """
    path = Path(path).expanduser()
    if not os.path.isfile(path):  # Path.is_file raises where a name is too long
        problem = "is a folder, but a file is needed" if os.path.isdir(path) else "does not exist"
        raise FileNotFoundError(f"{option}: {path} {problem}{_working_directory_hint(path)}")
    return path


def existing_folder(path: PathLike, option: str) -> Path:
    """``path``, if it is a folder.

    Raises:
        FileNotFoundError: If it is not there; says relative to which folder.
    """
    path = Path(path).expanduser()
    if not os.path.isdir(path):
        problem = "is a file, but a folder is needed" if os.path.exists(path) else "does not exist"
        raise FileNotFoundError(f"{option}: {path} {problem}{_working_directory_hint(path)}")
    return path


def check_output_folder(path: PathLike, option: str) -> None:
    """Check that files can be written into a folder, which may not be there yet. Nothing is made.

    Args:
        path: The folder.
        option: The option that named it, for the message.

    Raises:
        ConfigError: If it, or what it would lie in, is a file or may not be written into.
    """
    place = Path(os.path.abspath(path))
    while not os.path.exists(place) and place != place.parent:
        place = place.parent
    if not os.path.isdir(place):
        raise ConfigError(f"{option}: {path} cannot be a folder, as {place} is a file. Name another.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ConfigError(f"{option}: {path} cannot be written, as {place} is read-only. Name another.")


def existing_files(paths: PathLike | Sequence[PathLike], option: str) -> list[Path]:
    """Files named one by one, or by patterns with ``*``, ``?`` or ``[...]``; the files of a pattern come sorted.

    Raises:
        FileNotFoundError: If a named file is not there or nothing fits a pattern.
        ValueError: If no file is named.
    """
    names = [paths] if isinstance(paths, PathLike) else list(paths)
    if not names:
        raise ValueError(f"{option} names no file")
    return [file for name in names for file in _matching(Path(name).expanduser(), option)]


def refuse_compressed(path: Path, option: str | None = None) -> None:
    """Check that a text file is not compressed, as public files often are downloaded: lines are read by their place.

    Raises:
        ValueError: If it is; says how it is unpacked.
    """
    with path.open("rb") as file:
        start = file.read(6)
    for name, signature, command in _COMPRESSED:
        if start.startswith(signature):
            prefix = "" if option is None else f"{option}: "
            raise ValueError(f"{prefix}{path} is compressed with {name}: unpack it first ({command} {path.name})")


def read_lines(path: Path, option: str) -> list[str]:
    """The lines of a small text file, stripped, without blank ones.

    Raises:
        ValueError: If it is not UTF-8.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{option}: {path} is not UTF-8: {error}") from error
    return [line.strip() for line in lines if line.strip()]


def _matching(path: Path, option: str) -> list[Path]:
    if os.path.isfile(path) or not any(character in str(path) for character in "*?["):
        return [existing_file(path, option)]
    matches = [Path(name) for name in sorted(glob(str(path), recursive=True)) if os.path.isfile(name)]
    if not matches:
        raise FileNotFoundError(f"{option}: no file fits the pattern {path}{_working_directory_hint(path)}")
    return matches


def _working_directory_hint(path: Path) -> str:
    return "" if path.is_absolute() else f" (looked from {Path.cwd()})"


def path_inside(root: PathLike, name: str, where: str) -> Path:
    """The path of the file ``name`` of an annotation, below ``root``.

    Annotations may be hostile: a name that leads out of the folder (``../``, or an absolute path elsewhere) is refused.
    Links inside the folder are followed. Whether the file exists is checked when it is read.

    Args:
        root: The folder that holds the files.
        name: Relative to ``root``, or absolute and below it.
        where: ``file:line`` of the record, for the message.

    Raises:
        RecordError: If ``name`` is no text or leads out of ``root``.
    """
    if not isinstance(name, str) or not name or "\0" in name:
        raise RecordError(where, f"expected the name of a file, got {str(name)[:80]!r}")
    base = os.path.abspath(root)
    path = os.path.abspath(os.path.join(base, name))
    if os.path.commonpath([base, path]) != base:
        raise RecordError(where, f"{name!r:.200} lies outside the folder {base}")
    return Path(path)


def read_bytes(path: PathLike, where: str, max_bytes: int | None = None) -> bytes:
    """The bytes of a file that an annotation names.

    Raises:
        RecordError: If it is missing, cannot be read, is no regular file, or is larger than ``max_bytes``.
    """
    try:
        with open_regular_file(path) as file:
            data = file.read() if max_bytes is None else file.read(_read_size(file, max_bytes))
    except (OSError, ValueError) as error:  # ValueError: half a character or a zero in the name
        raise RecordError(where, f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if max_bytes is not None and len(data) > max_bytes:
        raise RecordError(where, f"{path} is larger than the limit of {max_bytes:,} bytes (max_bytes)")
    return data


def open_regular_file(path: PathLike) -> BinaryIO:
    """Open a regular file for reading. Opening a pipe would wait for ever for a writer.

    Raises:
        OSError: If it cannot be opened, or is a pipe, a device or a socket.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115  (handed over)
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return file


def _read_size(file: BinaryIO, max_bytes: int) -> int:
    """One byte more than the file has, at most one more than the limit: a buffer of the limit is slow to allocate."""
    size = os.fstat(file.fileno()).st_size or max_bytes  # 0: empty, or generated on reading (/proc)
    return min(size, max_bytes) + 1


class FileNames:
    """Maps names of images and videos in annotations to file names: by a table, a pattern, both, or neither.

    Args:
        pattern: With one placeholder, e.g. ``"{}.mp4"``, or ``"COCO_val2014_{:012d}.jpg"`` for numbers; None changes
            nothing.
        table: A JSON file with an object from identity to name; applied before the pattern.
        option: Prefix of the options' names, for messages: ``file`` for ``file_pattern``.

    Raises:
        FileNotFoundError: If the table is not there.
        ValueError: If the pattern has not exactly one placeholder, or the table is no such object.
    """

    def __init__(self, pattern: str | None = None, table: PathLike | None = None, option: str = "file") -> None:
        if pattern is not None and not re.fullmatch(r"[^{}]*\{(:0?\d*d)?\}[^{}]*", pattern):
            raise ValueError(
                f"{option}_pattern is {pattern!r}; expected one placeholder, e.g. '{{}}.mp4' or '{{:012d}}.jpg'"
            )
        self.pattern, self.table, self.option = pattern, None, option
        if table is not None:
            self.table = _object_of(existing_file(table, f"{option}_map"), f"{option}_map")

    def __call__(self, name: Any, where: str) -> str:
        """The name of the file.

        Raises:
            RecordError: If it is no name and no whole number, the table has no such entry, or the pattern needs a
                number.
        """
        name = int(name) if isinstance(name, float) and name.is_integer() else name
        if not isinstance(name, str | int) or isinstance(name, bool):
            raise RecordError(where, f"expected the name of a file, got {name!r:.80}")
        name = str(name)
        if self.table is not None:
            if not isinstance(self.table.get(name), str):
                raise RecordError(where, f"{self.option}_map has no file for {name!r:.60}")
            name = self.table[name]
        if self.pattern is None:
            return name
        if "d}" not in self.pattern:
            return self.pattern.format(name)
        if not name.isdecimal() or len(name) > _MAX_DIGITS:
            raise RecordError(where, f"{self.option}_pattern {self.pattern!r} needs a number, got {name!r:.60}")
        return self.pattern.format(int(name))


def _object_of(path: Path, option: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{option}: {path} is broken: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{option}: {path} holds a {type(value).__name__}; expected an object from identity to name")
    return value
