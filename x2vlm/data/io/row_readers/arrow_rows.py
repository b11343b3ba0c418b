"""Rows of an arrow stream file by number, mapped into memory (needs ``pyarrow``)."""

from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.io.row_readers.parquet_rows import need_pyarrow, unreadable_rows


class ArrowRows:
    """The rows of one file, as the ``datasets`` library saves it.

    Holds the open map only in the process that opened it, so it can be sent to another one.

    Attributes:
        run_lengths: Rows of each batch, ``[batches]`` int64.

    Args:
        path: The file.

    Raises:
        ValueError: If ``pyarrow`` is not installed, or it is no such file.
    """

    def __init__(self, path: Path) -> None:
        need_pyarrow(str(path))
        self.path = path
        self._open()

    def _open(self) -> None:
        import pyarrow

        try:
            source = pyarrow.memory_map(str(self.path))
            start = source.read(6)
            source.seek(0)
            if start == b"ARROW1":
                file = pyarrow.ipc.open_file(source)
                self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]
            else:
                file = pyarrow.ipc.open_stream(source)
                self._batches = list(file)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{self.path} is no arrow file: {error}") from error
        self.names = file.schema.names
        self.run_lengths = np.array([batch.num_rows for batch in self._batches], dtype=np.int64)
        self._ends = np.cumsum(self.run_lengths)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path = state["path"]
        self._open()

    def read(self, row: int) -> dict[str, Any]:
        """The cells of a row, by column.

        Raises:
            RecordError: If they are damaged.
        """
        batch = int(np.searchsorted(self._ends, row, side="right"))
        first = int(self._ends[batch - 1]) if batch else 0
        with unreadable_rows(f"{self.path.name}[{row}]"):
            cells = self._batches[batch].slice(row - first, 1)
            cells.validate(full=True)  # else a wrong offset ends the process
            return {name: cells.column(name)[0].as_py() for name in self.names}
