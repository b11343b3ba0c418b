"""A folder of images, a table of captions, and perhaps one of boxes with phrases: what a spreadsheet writes."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_files, existing_folder, path_inside
from x2vlm.data.io.row_readers.table_rows import table_headings, table_rows
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

COLUMNS = {
    "file": "file",
    "caption": "caption",
    "phrase": "phrase",
    "x": "x",
    "y": "y",
    "width": "width",
    "height": "height",
}
_SIDES = ("x", "y", "width", "height")


@DATASETS.register_module()
class ImageTable(NumberedAdapter):
    """Images with all that tables say of them: a record is an image, whatever number of lines it has.

    The identity is the name of the file. Lines without a caption (or a phrase) say nothing, and are left out.

    Args:
        image_root: The folder of the images.
        captions_file: A CSV or TSV file with headings: ``file`` and ``caption`` in each line. None: no captions.
        boxes_file: One with ``file``, ``phrase``, ``x``, ``y``, ``width`` and ``height`` in pixels. None: no boxes.
        columns: What headings are called, where otherwise: ``dict(file="Photo", caption="Title")``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If no table is given, or one has no such headings or no line.
    """

    paths = ("image_root", "captions_file", "boxes_file")

    def __init__(
        self,
        image_root: str | PathLike,
        captions_file: str | PathLike | None = None,
        boxes_file: str | PathLike | None = None,
        columns: Mapping[str, str] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        for name in columns or {}:
            if name not in COLUMNS:
                raise ValueError(f"columns has no '{name}'.{suggestion(name, COLUMNS)} Accepted: {', '.join(COLUMNS)}.")
        if captions_file is None and boxes_file is None:
            raise ValueError("ImageTable needs captions_file, boxes_file or both")
        self.image_root, self.columns = existing_folder(image_root, "image_root"), {**COLUMNS, **(columns or {})}
        self._captions: dict[str, list[str]] = {}
        self._elems: dict[str, list[dict[str, Any]]] = {}
        self._wheres: dict[str, str] = {}
        if captions_file is not None:
            for name, cells in self._read(captions_file, "captions_file", ("file", "caption")):
                self._captions.setdefault(name, []).append(cells["caption"])
        if boxes_file is not None:
            for name, cells in self._read(boxes_file, "boxes_file", ("file", "phrase", *_SIDES)):
                box = [cells[side] for side in _SIDES]
                self._elems.setdefault(name, []).append({"bb": box, "caption": cells["phrase"], "kind": "region"})
        self.names = list(self._wheres)
        if not self.names:
            raise ValueError(
                f"captions_file: no line of {captions_file or boxes_file} names a file and says something of it"
            )
        self._take(len(self.names), subset)

    def _record(self, number: int) -> Record:
        name = self.names[number]
        where = self._wheres[name]
        if "\N{REPLACEMENT CHARACTER}" in name:
            raise RecordError(where, f"the name {name!r:.60} is not UTF-8")
        record: Record = {"where": where, "id": name, "image": path_inside(self.image_root, name, where)}
        if name in self._captions:
            record["caption"] = self._captions[name]
        if name in self._elems:
            record["elems"] = self._elems[name]
        return {**record, "extras": {}}

    def _read(self, path: str | PathLike, option: str, wanted: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """The name of the file, and the cells by what they are, of each line that says something."""
        for file in existing_files(path, option):
            headings = table_headings(file, option)
            if missing := [self.columns[name] for name in wanted if self.columns[name] not in headings]:
                raise ValueError(
                    f"{option}: {file} has no column {', '.join(missing)}; its first line has: "
                    f"{', '.join(headings) or 'nothing'}. Write the headings into the first line, or say what they are "
                    "called with columns="
                )
            for where, row in table_rows(file, option):
                cells = {name: (row.get(self.columns[name]) or "").strip() for name in wanted}
                if cells["file"] and cells[wanted[1]]:
                    self._wheres.setdefault(cells["file"], where)
                    yield cells["file"], cells
