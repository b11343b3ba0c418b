"""What img2dataset leaves: ``00000.tar`` with images, ``00000.parquet`` with captions and how each download went."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter, checked_buffer
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_files
from x2vlm.data.io.row_readers.parquet_rows import GroupCache, ParquetRows
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

GOOD = "success"


@DATASETS.register_module()
class Img2Dataset(NumberedAdapter):
    """Shards of downloads: LAION, COYO, CC12M and whatever else was fetched with img2dataset (needs ``pyarrow``).

    Rows that were not downloaded (``status``) are left out. The identity is the address. Without the parquet files the
    shards are in WebDataset layout: :class:`~x2vlm.data.datasets.file_formats.webdataset.WebDataset`.

    Args:
        shards: The parquet files, e.g. ``"laion/*.parquet"``; the tar file of the same name lies beside each.
        caption: The column of captions; that of LAION's own lists is ``TEXT``.
        shuffle_buffer: Rows that a worker mixes while it reads shards one after the other (see
            :class:`~x2vlm.data.sharded_sampler.ShardedSampler`); None draws rows from anywhere, each at the cost of the
            captions of its group of rows.
        where_columns: Keep rows for which a column reaches a value: ``dict(similarity=0.3, width=256)``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If no file fits.
        ValueError: If ``pyarrow`` is missing, a column is, a tar file is, or no row is left.
    """

    paths = ("shards",)

    def __init__(
        self,
        shards: str | PathLike | Sequence[str | PathLike],
        caption: str = "caption",
        where_columns: dict[str, float] | None = None,
        shuffle_buffer: int | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.files = existing_files(shards, "shards")
        self.caption = caption
        lacking = [file.with_suffix(".tar") for file in self.files if not file.with_suffix(".tar").is_file()]
        if lacking:
            raise ValueError(f"shards: {lacking[0]} is missing ({len(lacking)} are): the images lie in it")
        self.shuffle_buffer, cache = checked_buffer(shuffle_buffer), GroupCache()
        self.tables = [ParquetRows(file, ("key", "status", caption, "url"), cache) for file in self.files]
        cache.keep_buffer(shuffle_buffer, [table.run_lengths for table in self.tables])
        self.tars: dict[int, TarIndex] = {}
        kept = [(file, row) for file, table in enumerate(self.tables) for row in _kept(table, where_columns or {})]
        #: ``[n, 2]``: the file of each record, and its row there.
        self.rows = np.array(kept, dtype=np.int64).reshape(-1, 2)
        if not len(self.rows):
            raise ValueError(f"shards: no row of {self.files[0]} and the others was downloaded and fits where_columns")
        self._take(len(self.rows), subset, self._runs() if shuffle_buffer else None)

    def _record(self, number: int) -> Record:
        file, row = self.rows[number].tolist()
        where = f"{self.files[file].name}:{row + 1}"
        cells = self.tables[file].read(row)
        caption = cells[self.caption]
        if not isinstance(caption, str):
            raise RecordError(where, f"{self.caption}: expected a text, got {caption!r:.60}")
        if file not in self.tars:
            self.tars[file] = TarIndex(self.files[file].with_suffix(".tar"), max_bytes=self.limits.max_bytes)
        image = self._image(file, str(cells["key"]), where)
        return {"where": where, "id": str(cells["url"]), "image": image, "caption": caption, "extras": {}}

    def _runs(self) -> np.ndarray:
        """The number of the group of rows of each record, over all files."""
        before = np.cumsum([0, *(len(table.run_lengths) for table in self.tables)])
        return np.array([before[file] + self.tables[file].group(row) for file, row in self.rows.tolist()])

    def _image(self, file: int, key: str, where: str) -> bytes:
        tar = self.tars[file]
        for ending in ("jpg", "png", "webp"):
            if tar.has(f"{key}.{ending}"):
                return tar.read(f"{key}.{ending}", where)
        raise RecordError(where, f"{Path(tar.path).name} has no image of key {key!r}")


def _kept(table: ParquetRows, least: dict[str, float]) -> list[int]:
    good: Any = np.array([status == GOOD for status in table.column("status")], dtype=bool)
    for name, value in least.items():
        good &= np.array([isinstance(one, int | float) and one >= value for one in table.column(name)], dtype=bool)
    return np.flatnonzero(good).tolist()
