"""Rows of a parquet file by number, without holding more than one group of rows (needs ``pyarrow``)."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class ParquetRows:
    """The rows of one file; a group of rows is read at a time and kept until another is asked for.

    Holds no open file, so it can be sent to another process.

    Args:
        path: The file.
        columns: Columns to read.

    Raises:
        ValueError: If ``pyarrow`` is not installed, the file is no parquet file, or has no such column.
    """

    def __init__(self, path: Path, columns: Sequence[str] | None = None) -> None:
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
        self._ends = np.cumsum([found.row_group(i).num_rows for i in range(found.num_row_groups)])
        self._kept: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}

    def read(self, row: int) -> dict[str, Any]:
        """The cells of a row, by column."""
        group = int(np.searchsorted(self._ends, row, side="right"))
        if self._kept is None or self._kept[0] != group:
            from pyarrow import parquet

            with parquet.ParquetFile(self.path) as file:
                self._kept = group, file.read_row_group(group, columns=self.columns)
        first = int(self._ends[group - 1]) if group else 0
        return {name: self._kept[1][name][row - first].as_py() for name in self.columns}

    def column(self, name: str) -> list[Any]:
        """All cells of a column.

        Raises:
            ValueError: If there is no such column.
        """
        from pyarrow import parquet

        self._check(name)
        return parquet.read_table(self.path, columns=[name])[name].to_pylist()

    def _check(self, name: str) -> None:
        if name not in self.names:
            raise ValueError(f"{self.path} has no column {name!r}. It has: {', '.join(self.names)}.")


def need_pyarrow(what: str) -> None:
    """Refuse to go on without ``pyarrow``.

    Raises:
        ValueError: If it is not installed.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError(f"{what} needs the package 'pyarrow', which is not installed: pip install 'x2vlm[parquet]'")
