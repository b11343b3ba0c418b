"""Aligned text in one table: a sentence in each of several columns, perhaps with a score (CCMatrix, WikiMatrix)."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike

import numpy as np

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.io.paths import existing_files
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class ParallelTable(NumberedAdapter):
    """Tab-separated lines without headings: ``score<TAB>sentence<TAB>sentence``.

    Args:
        files: A file, a pattern, or several of either.
        columns: From language to the number of its column, from 0: ``dict(en=1, de=2)``.
        score_column: The column with how well the sentences belong together; None for none.
        min_score: Lines below are left out from the start (reads all lines once).
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If fewer than two languages are given, or no line is left.
    """

    paths = ("files",)

    def __init__(
        self,
        files: str | PathLike | Sequence[str | PathLike],
        columns: Mapping[str, int],
        score_column: int | None = None,
        min_score: float | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if len(columns) < 2 or not all(type(column) is int and column >= 0 for column in columns.values()):
            raise ValueError(
                f"columns is {columns!r}; expected two languages or more, each with the number of its column"
            )
        if min_score is not None and score_column is None:
            raise ValueError("min_score needs score_column, where the score stands")
        self.columns, self.score_column = dict(columns), score_column
        self.lines = LineIndex(existing_files(files, "files"), max_bytes=self.limits.max_bytes)
        rows = np.arange(len(self.lines))
        if min_score is not None:
            rows = rows[np.array([self._score(row) >= min_score for row in rows.tolist()], dtype=bool)]
        if not len(rows):
            raise ValueError(f"files: no line of {files} is left (min_score={min_score})")
        self.rows = rows
        self._take(len(rows), subset)

    def _score(self, row: int) -> float:
        """The score of a line; infinite where it cannot be read, which is reported when the line is."""
        try:
            return float(self.lines.text(row).split("\t")[self.score_column])
        except (RecordError, ValueError, IndexError):
            return float("inf")

    def _record(self, number: int) -> Record:
        row = int(self.rows[number])
        where, cells = self.lines.where(row), self.lines.text(row).split("\t")
        if max(self.columns.values()) >= len(cells):
            raise RecordError(
                where, f"has {len(cells)} columns; the languages stand in {sorted(self.columns.values())}"
            )
        sides = {language: cells[column].strip() for language, column in self.columns.items()}
        if sum(map(bool, sides.values())) < 2:
            raise RecordError(where, f"text in fewer than two of the languages {', '.join(sides)}")
        return {"where": where, "id": where, "parallel": sides, "extras": {}}
