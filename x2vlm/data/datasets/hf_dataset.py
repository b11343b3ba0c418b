"""Any data set of the ``datasets`` library: a folder saved by it, parquet or arrow files."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.datasets.numbered import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import first_value, read_captions, read_elements, read_size
from x2vlm.data.io.limits import Limits
from x2vlm.data.io.paths import existing_files, existing_folder, path_inside
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
    """Rows of a data set of the Hugging Face ``datasets`` library; nothing is downloaded.

    Images and videos are bytes, paths, or what the library keeps of both. Rows are read where they lie, mapped into
    memory. The identity is ``image_id``, else ``id``, else the path of what is shown, else the number of the row.

    Args:
        path: A folder of ``save_to_disk``, or parquet or arrow files: a file, a pattern, or several of either.
        split: Of a folder with several splits, this one.
        image_root: The folder that paths in the rows start from; None: paths are not followed.
        keys: Where things stand, where not under the usual names (:data:`KEYS`); as those of
            :class:`~x2vlm.data.datasets.jsonl.JsonLines`. ``parallel`` is an object from language to sentence.
        kind: ``"object"`` or ``"region"``: what elements without a ``kind`` of their own are.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.Limits`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the package ``datasets`` is missing, an option has no meaning, or it cannot be read.
    """

    paths = ("path", "image_root")

    def __init__(
        self,
        path: str | PathLike | Sequence[str | PathLike],
        split: str | None = None,
        image_root: str | PathLike | None = None,
        keys: Mapping[str, Any] | None = None,
        kind: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | Limits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        for name in keys or {}:
            if name not in KEYS:
                raise ValueError(f"keys has no '{name}'.{suggestion(name, KEYS)} Accepted: {', '.join(KEYS)}.")
        self.keys, self.kind = {**KEYS, **(keys or {})}, kind
        self.image_root = None if image_root is None else existing_folder(image_root, "image_root")
        self.table, self.name = _opened(path, split)
        self._take(len(self.table), subset)

    def _record(self, number: int) -> Record:
        row, where = self.table[number], f"{self.name}[{number}]"
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


def _opened(path: Any, split: str | None) -> tuple[Any, str]:
    """The table, with images and videos as bytes and paths, and what messages call it."""
    if importlib.util.find_spec("datasets") is None:
        raise ValueError(
            "HFDataset needs the package 'datasets', which is not installed: pip install 'x2vlm[datasets]'"
        )
    import datasets
    from pyarrow import ArrowException

    folder = Path(path).expanduser() if isinstance(path, str | PathLike) else None
    try:
        if folder is not None and folder.is_dir():
            found = datasets.load_from_disk(str(folder))
            name = folder.name
        else:
            files = existing_files(path, "path")
            read = datasets.Dataset.from_file if files[0].suffix == ".arrow" else datasets.Dataset.from_parquet
            found, name = datasets.concatenate_datasets([read(str(file)) for file in files]), files[0].name
    except (ArrowException, OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError) and folder is not None and not folder.is_dir():
            raise
        raise ValueError(f"path: {path} cannot be read by the library 'datasets': {error}") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise ValueError(f"split: {path} has the splits {', '.join(found)}; name one of them, not {split!r}")
        found = found[split]
    kinds = tuple(getattr(datasets, kind) for kind in ("Image", "Video") if hasattr(datasets, kind))
    for column, feature in found.features.items():
        if isinstance(feature, kinds):
            found = found.cast_column(column, type(feature)(decode=False))
    return found, name
