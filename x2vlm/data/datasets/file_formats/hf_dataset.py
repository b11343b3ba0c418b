"""Any data set of the Hugging Face ``datasets`` library: a folder saved by it, parquet or arrow files."""

import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.building import suggestion
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter, checked_buffer
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import first_value, read_captions, read_elements, read_size
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_files, existing_folder, path_inside
from x2vlm.data.io.row_readers.arrow_rows import ArrowRows
from x2vlm.data.io.row_readers.parquet_rows import GroupCache, ParquetRows
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

FIELDS = ("caption", "elems", "question", "answers", "label", "text", "text_pair", "parallel")
KEYS: dict[str, Any] = {
    "image": ("image", "img"),
    "images": "images",
    "video": "video",
    "caption": ("caption", "captions", "text"),
    "elems": ("elems", "objects"),
    "question": "question",
    "answers": ("answers", "answer"),
    "label": "label",
    "text": None,
    "text_pair": None,
    "parallel": "translation",
    "id": ("image_id", "id"),
    "width": "width",
    "height": "height",
    "extras": (),
}


@DATASETS.register_module()
class HFDataset(NumberedAdapter):
    """Rows of a data set of the Hugging Face ``datasets`` library (needs ``pyarrow``, and not the library).

    Nothing is downloaded. Images and videos are bytes, paths, or what the library keeps of both. Rows are read where
    they lie: arrow files mapped into memory, parquet files a group of rows at a time. The identity is ``image_id``,
    else ``id``, else the path of what is shown, else the place of the row.

    A row of a parquet file costs its whole group, so training reads them as a stream (``shuffle_buffer``): groups in
    random order, each by one worker of one process, rows mixed within a buffer
    (:class:`~x2vlm.data.sharded_sampler.ShardedSampler`). It resumes where it was, as every stream does.

    Args:
        path: A folder of ``save_to_disk``, or parquet or arrow files: a file, a pattern, or several of either.
        split: Of a folder with several splits, this one.
        image_root: The folder that paths in the rows start from; None: paths are not followed.
        keys: Where things stand, where not under the usual names (:data:`KEYS`); as those of
            :class:`~x2vlm.data.datasets.file_formats.jsonl.JsonLines`. ``parallel`` is an object from language to
            sentence.
        kind: ``"object"`` or ``"region"``: what elements without a ``kind`` of their own are.
        shuffle_buffer: Rows that a worker mixes and keeps in memory; None draws rows from anywhere, which is right for
            arrow files on a local disk.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the package ``pyarrow`` is missing, an option has no meaning, or a file cannot be read.
    """

    paths = ("path", "image_root")

    def __init__(
        self,
        path: str | PathLike | Sequence[str | PathLike],
        split: str | None = None,
        image_root: str | PathLike | None = None,
        keys: Mapping[str, Any] | None = None,
        kind: str | None = None,
        shuffle_buffer: int | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        for name in keys or {}:
            if name not in KEYS:
                raise ValueError(f"keys has no '{name}'.{suggestion(name, KEYS)} Accepted: {', '.join(KEYS)}.")
        self.keys, self.kind = {**KEYS, **(keys or {})}, kind
        self.image_root = None if image_root is None else existing_folder(image_root, "image_root")
        self.shuffle_buffer = checked_buffer(shuffle_buffer)
        self.rows = _Rows(_files_of(path, split), shuffle_buffer)
        self._take(len(self.rows), subset, self.rows.runs() if shuffle_buffer else None)

    def _record(self, number: int) -> Record:
        row, where = self.rows.read(number)
        shown = {name: self._shown(first_value(row, self.keys[name]), where) for name in ("image", "video")}
        images = first_value(row, self.keys["images"])
        if isinstance(images, list):
            shown["images"] = [self._shown(image, where) for image in images]
        shown = {name: value for name, value in shown.items() if value is not None}
        said = {name: read_captions(row, self.keys[name], where) for name in ("caption", "question")}
        said |= {name: first_value(row, self.keys[name]) for name in FIELDS if name not in said}
        said = {name: value for name, value in said.items() if value is not None}
        if "elems" in said:
            said["elems"] = read_elements(_as_rows(said["elems"]), where, self.kind)
            said |= read_size(row, self.keys["width"], self.keys["height"], where)
        if not said and not shown:
            raise RecordError(where, f"shows nothing and says nothing: it has only {', '.join(sorted(row))}")
        extras = {name: first_value(row, name) for name in self.keys["extras"]}
        return {"where": where, "id": self._identity(row, shown, where), **shown, **said, "extras": extras}

    def _identity(self, row: Mapping[str, Any], shown: Record, where: str) -> str:
        identity = first_value(row, self.keys["id"])
        shows = next((shown[name] for name in ("image", "video") if isinstance(shown.get(name), Path)), where)
        return str(shows if identity is None else identity)

    def _shown(self, value: Any, where: str) -> Any:
        """Bytes, or a path below ``image_root``."""
        if isinstance(value, Mapping):  # what the library keeps of an image
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            if self.image_root is None:
                raise RecordError(where, f"names the file {value!r:.80}; say where it lies with image_root=")
            return path_inside(self.image_root, value, where)
        if value is None or isinstance(value, bytes):
            return value
        raise RecordError(where, f"expected the bytes or the path of an image or a video, got {value!r:.60}")


def _as_rows(value: Any) -> Any:
    """A list of objects, of an object of lists, in which the library keeps it."""
    if isinstance(value, Mapping) and all(isinstance(one, list) for one in value.values()):
        return [dict(zip(value, row, strict=False)) for row in zip(*value.values(), strict=False)]
    return value


def _files_of(path: Any, split: str | None) -> list[Path]:
    """The arrow or parquet files that are meant, in order.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a folder is no saved data set, or has no such split.
    """
    folder = Path(path).expanduser() if isinstance(path, str | PathLike) else None
    if folder is None or not folder.is_dir():
        if split is not None:
            raise ValueError(f"split={split!r} is for folders with several splits; {path} names files")
        return existing_files(path, "path")
    if (folder / "dataset_dict.json").is_file():
        splits = _listed(_state(folder / "dataset_dict.json"), "splits")
        if split not in splits:
            known = ", ".join(map(str, splits)) or "(none)"
            raise ValueError(f"split: {path} has the splits {known}; name one, not {split!r}")
        folder = folder / split
    if not (folder / "state.json").is_file():
        raise ValueError(f"path: {folder} was not saved by the library 'datasets': it has no state.json")
    state = _state(folder / "state.json")
    if state.get("_indices_data_files"):
        raise ValueError(
            f"path: {folder} was saved with a choice of rows beside it: call flatten_indices() and save again"
        )
    names = [one.get("filename") for one in _listed(state, "_data_files") if isinstance(one, dict)]
    try:
        files = [path_inside(folder, name, "state.json") for name in names]
    except RecordError as error:
        raise ValueError(f"path: {folder}: {error}") from error
    return existing_files(files, "path")


def _state(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"path: {path} is broken: {error}") from error
    return value if isinstance(value, dict) else {}


def _listed(state: dict[str, Any], name: str) -> list[Any]:
    value = state.get(name)
    return value if isinstance(value, list) else []


class _Rows:
    """The rows of several files, numbered through."""

    def __init__(self, files: Sequence[Path], shuffle_buffer: int | None) -> None:
        cache = GroupCache()
        self.tables = [
            ParquetRows(file, cache=cache) if file.suffix == ".parquet" else ArrowRows(file) for file in files
        ]
        self._ends = np.cumsum([len(table) for table in self.tables])
        cache.keep_buffer(shuffle_buffer, [table.run_lengths for table in self.tables])

    def runs(self) -> np.ndarray:
        """The number of the group (or batch) of each row, ``[n]`` int64."""
        lengths = np.concatenate([table.run_lengths for table in self.tables])
        return np.repeat(np.arange(len(lengths)), lengths)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, row: int) -> tuple[dict[str, Any], str]:
        """The cells of a row, and its place."""
        table = int(np.searchsorted(self._ends, row, side="right"))
        row -= int(self._ends[table - 1]) if table else 0
        return self.tables[table].read(row), f"{self.tables[table].path.name}[{row}]"
