"""Tables: TSV and CSV files with a record a row, e.g. sentences with a label (GLUE) or questions with an answer."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import Limits
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

Column = str | int

TEXTS = ("text", "text_pair", "caption", "question", "label")
FILES = ("image", "video")
FIELDS = (*TEXTS, *FILES, "answers", "id", "extras")
DELIMITERS = {".tsv": "\t", ".csv": ","}


@DATASETS.register_module()
class Table(Adapter):
    """Rows of TSV or CSV files; what a record holds is what ``columns`` says.

    Args:
        ann_file: A file, a pattern, or several of either.
        columns: From what a record holds (``text``, ``text_pair``, ``caption``, ``question``, ``label``, ``image``,
            ``video``, ``id``) to the column: its name in the line of headings, or its number from 0. ``answers`` may be
            several columns, of which empty ones are left out. ``extras`` is a list of columns for metrics.
        header: The first line of every file has the names of the columns.
        delimiter: What stands between columns; None goes by the ending: a tab in ``.tsv``, a comma in ``.csv``.
        quoted: Columns may stand in double quotes, and then hold line ends; None: in ``.csv`` only. GLUE has no quotes.
        image_root: The folder that images and videos start from; None: the folder of the table.
        file_pattern: What makes a path of the name of an image or video, e.g. ``"{}.mp4"``.
        file_map: A JSON file with an object from the name of an image or video to its path.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.Limits`.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If an option has no meaning, a file is no such table, or it has no such column.
    """

    paths = ("ann_file", "image_root", "file_map")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        columns: Mapping[str, Any],
        header: bool = True,
        delimiter: str | None = None,
        quoted: bool | None = None,
        image_root: str | PathLike | None = None,
        file_pattern: str | None = None,
        file_map: str | PathLike | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | Limits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.columns = _checked(columns)
        self.names = FileNames(file_pattern, file_map)
        self.image_root = None if image_root is None else existing_folder(image_root, "image_root")
        rows = [
            row for file in existing_files(ann_file, "ann_file") for row in self._read(file, header, delimiter, quoted)
        ]
        self._rows = [rows[i] for i in Subset.of(subset).indices(len(rows), lambda i: self._identity(rows[i]))]

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        """The record of a row.

        Raises:
            RecordError: If the row is too short, is not UTF-8, or names a file outside ``image_root``.
        """
        row = self._rows[index]
        where, folder, cells = row
        if None in cells.values():
            lacking = [name for name, value in cells.items() if value is None]
            raise RecordError(where, f"the row is too short: it has no {', '.join(lacking)}")
        if not all(map(_is_utf8, _texts_in(cells))):
            raise RecordError(where, "not UTF-8")
        record: Record = {"where": where, "id": self._identity(row)}
        record |= {name: cells[name] for name in TEXTS if name in cells}
        for name in (name for name in FILES if name in cells):
            record[name] = path_inside(self.image_root or folder, self.names(cells[name], where), where)
        if "answers" in cells:
            record["answers"] = [answer for answer in cells["answers"] if answer]
        return {**record, "extras": cells.get("extras", {})}

    def _identity(self, row: tuple[str, Path, dict[str, Any]]) -> str:
        """What the row calls itself, else the name of what it shows, else its place."""
        where, _, cells = row
        return next((str(cells[name]) for name in ("id", *FILES) if cells.get(name)), where)

    def _read(
        self, file: Path, header: bool, delimiter: str | None, quoted: bool | None
    ) -> Iterator[tuple[str, Path, dict[str, Any]]]:
        """Every row as its place, its folder, and its cells by what they are (None where the row is too short)."""
        delimiter = DELIMITERS.get(file.suffix.lower()) if delimiter is None else delimiter
        if delimiter is None:
            raise ValueError(f"ann_file: {file} ends in neither .tsv nor .csv; say delimiter=")
        quoting = csv.QUOTE_MINIMAL if (delimiter == "," if quoted is None else quoted) else csv.QUOTE_NONE
        try:
            # What is not UTF-8 stands in for itself, and is told of its row when that is read.
            with open(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as handle:
                reader = csv.reader(handle, delimiter=delimiter, quoting=quoting, strict=True)
                places = self._places(next(reader, []) if header else None, file)
                line = reader.line_num
                for row in reader:
                    if row:
                        yield f"{file.name}:{line + 1}", file.parent, _cells(row, places)
                    line = reader.line_num
        except csv.Error as error:
            raise ValueError(f"ann_file: {file} is no table with {delimiter!r} between its columns: {error}") from error

    def _places(self, headings: list[str] | None, file: Path) -> dict[str, Any]:
        """Columns by what they hold, as numbers."""
        places: dict[str, Any] = {}
        for name, column in self.columns.items():
            if name == "extras":
                places[name] = {str(one): _number(one, headings, file) for one in column}
            elif name == "answers":
                places[name] = [_number(one, headings, file) for one in column]
            else:
                places[name] = _number(column, headings, file)
        return places


def _cells(row: Sequence[str], places: Any) -> Any:
    """The cells at some places, in the shape of the places; None for what is beyond the end of the row."""
    if isinstance(places, dict):
        return {name: _cells(row, place) for name, place in places.items()}
    if isinstance(places, list):
        return [row[place] for place in places if place < len(row)]
    return row[places] if places < len(row) else None


def _texts_in(cells: Any) -> Iterator[str]:
    if isinstance(cells, str):
        yield cells
    else:
        for one in cells.values() if isinstance(cells, dict) else cells:
            yield from _texts_in(one)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(column: Column, headings: list[str] | None, file: Path) -> int:
    if isinstance(column, int):
        return column
    if headings is None:
        raise ValueError(f"columns: {column!r} is a name, but header=False; give the number of the column, from 0")
    if column not in headings:
        near = suggestion(column, headings)
        raise ValueError(f"ann_file: {file} has no column {column!r}.{near} It has: {', '.join(headings)}.")
    return headings.index(column)


def _checked(columns: Mapping[str, Any]) -> dict[str, Any]:
    for name in columns:
        if name not in FIELDS:
            raise ValueError(f"columns has no '{name}'.{suggestion(name, FIELDS)} Accepted: {', '.join(FIELDS)}.")
    if not columns:
        raise ValueError(f"columns is empty; say where things are, e.g. dict(text='sentence'). Accepted: {FIELDS}")
    listed = {name: columns[name] for name in ("answers", "extras") if name in columns}
    return {**columns} | {name: [one] if isinstance(one, str | int) else list(one) for name, one in listed.items()}
