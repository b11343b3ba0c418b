"""TSV and CSV files with a record a row, e.g. sentences with a label (GLUE) or questions with an answer."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.options import check_names
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

Column = str | int

TEXTS = ("text", "text_pair", "caption", "question", "label")
FILES = ("image", "video")
FIELDS = (*TEXTS, *FILES, "answers", "choices", "id", "extras")
CHOICES = ("a0", "a1", "a2", "a3", "a4")
DELIMITERS = {".tsv": "\t", ".csv": ","}


@DATASETS.register_module()
class Table(Adapter):
    """Rows of TSV or CSV files; ``columns`` maps fields of the record to columns.

    Args:
        ann_file: A file, a pattern, or several of either.
        columns: From a field of the record (``text``, ``text_pair``, ``caption``, ``question``, ``label``, ``image``,
            ``video``, ``id``) to the column: its name in the header, or its index from 0. ``answers`` may be
            several columns, of which empty ones are left out. ``choices`` are the columns of the
            answers to choose from, by the number in ``label``. ``extras`` is a list of columns for metrics.
        header: The first line of every file has the names of the columns.
        delimiter: What separates columns; None goes by the file extension: a tab in ``.tsv``, a comma in ``.csv``.
        quoted: Columns may be in double quotes, and then contain line ends; None: in ``.csv`` only. GLUE has no quotes.
        image_root: The folder that images and videos start from; None: the folder of the table.
        file_pattern: Makes a path of the name of an image or video, e.g. ``"{}.mp4"``.
        file_map: A JSON file with an object from the name of an image or video to its path.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

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
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.columns = _checked_columns(columns)
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
        if "choices" in cells:
            record["choices"] = list(cells["choices"])
        return {**record, "extras": cells.get("extras", {})}

    def _identity(self, row: tuple[str, Path, dict[str, Any]]) -> str:
        """The annotated identity, else the name of the image or video, else ``where``."""
        where, _, cells = row
        return next((str(cells[name]) for name in ("id", *FILES) if cells.get(name)), where)

    def _read(
        self, file: Path, header: bool, delimiter: str | None, quoted: bool | None
    ) -> Iterator[tuple[str, Path, dict[str, Any]]]:
        """Every row as its ``where``, its folder, and its cells by field (None where the row is too short)."""
        delimiter = DELIMITERS.get(file.suffix.lower()) if delimiter is None else delimiter
        if delimiter is None:
            raise ValueError(f"ann_file: {file} ends in neither .tsv nor .csv; set delimiter=")
        quoting = csv.QUOTE_MINIMAL if (delimiter == "," if quoted is None else quoted) else csv.QUOTE_NONE
        try:
            # What is not UTF-8 is kept by surrogates, and makes its row a bad record when that is read.
            with open(file, newline="", encoding="utf-8-sig", errors="surrogateescape") as handle:
                reader = csv.reader(handle, delimiter=delimiter, quoting=quoting, strict=True)
                columns = self._column_indices(next(reader, []) if header else None, file)
                line = reader.line_num
                for row in reader:
                    if row:
                        yield f"{file.name}:{line + 1}", file.parent, _cells(row, columns)
                    line = reader.line_num
        except csv.Error as error:
            raise ValueError(f"ann_file: {file} is no table with {delimiter!r} between its columns: {error}") from error

    def _column_indices(self, header: list[str] | None, file: Path) -> dict[str, Any]:
        """The indices of the columns of each field."""
        if header and set(CHOICES) <= set(header) and self.columns.get("answers") == ["answer"]:
            raise ValueError(
                f"ann_file: {file} is of questions with five answers to choose from: its column 'answer' holds the "
                "number of the right one, which is no answer in words. Read label='answer' and choices="
                f"{list(CHOICES)} (transform PickChoices), or give the file of open answers."
            )
        indices: dict[str, Any] = {}
        for name, column in self.columns.items():
            if name == "extras":
                indices[name] = {str(each): _column_index(each, header, file) for each in column}
            elif name in ("answers", "choices"):
                indices[name] = [_column_index(each, header, file) for each in column]
            else:
                indices[name] = _column_index(column, header, file)
        return indices


def _cells(row: Sequence[str], columns: Any) -> Any:
    """The cells of some columns, in the same dict or list; None for what is beyond the end of the row."""
    if isinstance(columns, dict):
        return {name: _cells(row, inner) for name, inner in columns.items()}
    if isinstance(columns, list):
        return [row[column] for column in columns if column < len(row)]
    return row[columns] if columns < len(row) else None


def _texts_in(cells: Any) -> Iterator[str]:
    if isinstance(cells, str):
        yield cells
    elif cells is not None:  # beyond the end of a short row
        for inner in cells.values() if isinstance(cells, dict) else cells:
            yield from _texts_in(inner)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _column_index(column: Column, header: list[str] | None, file: Path) -> int:
    if isinstance(column, int):
        return column
    if header is None:
        raise ValueError(f"columns: {column!r} is a name, but header=False; give the index of the column, from 0")
    if column not in header:
        near = suggestion(column, header)
        raise ValueError(f"ann_file: {file} has no column {column!r}.{near} It has: {', '.join(header)}.")
    return header.index(column)


def _checked_columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    check_names(columns, FIELDS, "columns has no")
    if not columns:
        raise ValueError(f"columns is empty; map fields to columns, e.g. dict(text='sentence'). Accepted: {FIELDS}")
    listed = {name: columns[name] for name in ("answers", "choices", "extras") if name in columns}
    return {**columns} | {
        name: [columns] if isinstance(columns, str | int) else list(columns) for name, columns in listed.items()
    }
