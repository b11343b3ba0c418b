"""Files that are complete or absent: written aside, synced to the disk, renamed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import BinaryIO


def sync(path: str | PathLike) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file that is always either the old one or the new one, also after a power cut.

    Several processes may write the same file: one after another, and the last one's text stays.
    """
    part = path.with_name(f"{path.name}.part")
    with _locked(part) as file:
        try:
            file.truncate(0)  # a killed process may have left something
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    sync(path.parent)


@contextmanager
def _locked(part: Path) -> Iterator[BinaryIO]:
    """The file under this name, made if need be, which no other process has at the same time."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                is_the_one = os.path.samestat(os.fstat(file.fileno()), part.stat())
            except FileNotFoundError:
                is_the_one = False
            if is_the_one:  # else the process that was waited for has renamed it
                yield file
                return
