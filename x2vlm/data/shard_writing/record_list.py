"""A list of records on the disk, a line of JSON each, which grows while shards are written."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from x2vlm.data.io.atomic_files import sync


class RecordList:
    """Appends entries to a file that need not exist; what a killed run wrote past the last commit is dropped.

    A context manager. Nothing but the number of entries is held in memory.

    Args:
        file: Made with its first entry.
        count: Entries of the last commit; the file is cut to these.
    """

    def __init__(self, file: Path, count: int = 0) -> None:
        self.file, self.count = file, count
        self._handle: TextIO | None = None
        if file.exists():
            _keep_lines(file, count)

    def __enter__(self) -> "RecordList":
        return self

    def __exit__(self, *_: Any) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def add(self, entry: Mapping[str, Any]) -> None:
        """Append an entry."""
        if self._handle is None:
            self._handle = self.file.open("a", encoding="utf-8")
        self._handle.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self.count += 1

    def commit(self) -> int:
        """Bring all entries to the disk; returns how many there are."""
        if self._handle is not None:
            self._handle.flush()
            os.fsync(self._handle.fileno())
            sync(self.file.parent)
        return self.count


def _keep_lines(file: Path, count: int) -> None:
    """Cut a file after its first ``count`` lines; without any, it is removed."""
    if not count:
        file.unlink()
        return
    with file.open("rb+") as handle:
        for _ in range(count):
            handle.readline()
        handle.truncate()
