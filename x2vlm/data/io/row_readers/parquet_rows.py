"""Rows of a parquet file by number, without holding more than some groups of rows (needs ``pyarrow``)."""

import importlib.util
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.record import RecordError


class GroupCache:
    """Groups of rows that were read last, of several files together.

    Args:
        rows: Groups are kept as long as they have no more rows than this together; the last one always is.
    """

    def __init__(self, rows: int = 0) -> None:
        self.rows = rows
        self._groups: OrderedDict[tuple[Path, int], Any] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": OrderedDict()}

    def get(self, key: tuple[Path, int], read: Callable[[], Any]) -> Any:
        """The group of that file and number, read if it is not kept."""
        if key in self._groups:
            self._groups.move_to_end(key)
            return self._groups[key]
        group = self._groups[key] = read()
        kept = sum(len(one) for one in self._groups.values())
        while kept > self.rows and len(self._groups) > 1:
            kept -= len(self._groups.popitem(last=False)[1])
        return group

    def keep_buffer(self, shuffle_buffer: int | None, run_lengths: Sequence[np.ndarray]) -> None:
        """Keep all groups that a shuffle buffer of so many rows reads: it begins and ends inside one.

        Args:
            shuffle_buffer: Its rows; None: rows are not read in runs, and the last group is kept alone.
            run_lengths: Rows of each group, of each file.
        """
        if shuffle_buffer:
            self.rows = shuffle_buffer + 2 * max(int(lengths.max(initial=0)) for lengths in run_lengths)


class ParquetRows:
    """The rows of one file; a group of rows is read at a time, and kept for the rows beside it.

    Holds no open file, so it can be sent to another process.

    Attributes:
        run_lengths: Rows of each group, ``[groups]`` int64.

    Args:
        path: The file.
        columns: Columns to read.
        cache: What keeps groups, which several files may share; None keeps one of this file.

    Raises:
        ValueError: If ``pyarrow`` is not installed, the file is no parquet file, or has no such column.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None, cache: GroupCache | None = None) -> None:
        need_pyarrow(str(path))
        import pyarrow
        from pyarrow import parquet

        self.path = path
        try:
            found = parquet.read_metadata(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path} is no parquet file: {error}") from error
        self.names = found.schema.to_arrow_schema().names
        self.columns = self.names if columns is None else list(columns)
        for name in self.columns:
            self._check(name)
        sizes = [found.row_group(i).num_rows for i in range(found.num_row_groups)]
        self.run_lengths = np.array(sizes, dtype=np.int64)
        self._ends = np.cumsum(self.run_lengths)
        self._cache = GroupCache() if cache is None else cache

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def group(self, row: int) -> int:
        """The number of the group that has a row."""
        return int(np.searchsorted(self._ends, row, side="right"))

    def read(self, row: int) -> dict[str, Any]:
        """The cells of a row, by column.

        Raises:
            RecordError: If its group of rows is damaged.
        """
        group = self.group(row)
        first = int(self._ends[group - 1]) if group else 0
        with unreadable_rows(f"{self.path.name}[{row}]"):
            table = self._cache.get((self.path, group), lambda: self._read_group(group))
            return {name: table[name][row - first].as_py() for name in self.columns}

    def _read_group(self, group: int) -> Any:
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            return file.read_row_group(group, columns=self.columns)

    def column(self, name: str) -> list[Any]:
        """All cells of a column.

        Raises:
            ValueError: If there is no such column, or it is damaged.
        """
        import pyarrow
        from pyarrow import parquet

        self._check(name)
        try:
            return parquet.read_table(self.path, columns=[name])[name].to_pylist()
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{self.path}: its column {name!r} cannot be read: {error!s:.200}") from error

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"{self.path} has no column {name!r}. It has: {', '.join(self.names)}.")


@contextmanager
def unreadable_rows(where: str) -> Iterator[None]:
    """Turn what pyarrow raises for damaged rows into a ``RecordError`` at ``where``."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError, ValueError, IndexError, OverflowError) as error:
        raise RecordError(where, f"its rows cannot be read: {error!s:.200}") from error


def need_pyarrow(what: str) -> None:
    """Refuse to go on without ``pyarrow``.

    Raises:
        ValueError: If it is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"{what} needs the package 'pyarrow', which is not installed: pip install 'x2vlm[parquet]'")
