"""Lines of CSV and TSV files by their headings; what stands between the columns is seen in the first line."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_DELIMITERS = ",;\t"


def table_headings(path: Path, option: str) -> list[str]:
    """The headings of a table; none of an empty file.

    Args:
        path: The file, in UTF-8, with or without a byte order mark.
        option: Who named it, for messages.

    Raises:
        ValueError: If the file is no table.
    """
    with _reader(path, option) as reader:
        return list(reader.fieldnames or ())


def table_rows(path: Path, option: str) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Place (``file:line``) and cells by heading of each line below the headings; arguments as above.

    Raises:
        ValueError: If the file is no table.
    """
    with _reader(path, option) as reader:
        for row in reader:
            yield f"{path.name}:{reader.line_num}", row


@contextmanager
def _reader(path: Path, option: str) -> Iterator[csv.DictReader]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
        file.seek(0)
        delimiter = max(_DELIMITERS, key=first.count)
        try:
            yield csv.DictReader(file, delimiter=delimiter)
        except csv.Error as error:
            raise ValueError(f"{option}: {path} is no table with {delimiter!r} between its columns: {error}") from error
