"""Which records of an annotation file are used: a range, less excluded identities (those of a test set)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np

from x2vlm.data.io.paths import existing_file
from x2vlm.data.options import from_options
from x2vlm.data.record import RecordError


@dataclass(frozen=True)
class Subset:
    """A range of the records, less a list of identities.

    Args:
        start: First record, counted from 0.
        stop: Record before which to stop; None for all. ``dict(stop=64)`` makes a small run.
        exclude_ids: A text file with one identity a line, or a sequence of identities, to leave out.
    """

    start: int = 0
    stop: int | None = None
    exclude_ids: str | PathLike | Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ValueError(f"subset: start={self.start}, stop={self.stop} is no range; expected 0 <= start < stop")

    @classmethod
    def of(cls, options: "dict | Subset | None") -> "Subset":
        """A subset as a config gives it.

        Raises:
            ValueError: If an option has no such name.
        """
        return from_options(cls, options, "subset")

    def indices(self, total: int, id_of: Callable[[int], str]) -> np.ndarray:
        """The indices of the records to use, ``[n]`` int64, ascending.

        Args:
            total: Records in the file.
            id_of: The identity of a record; called only where identities are excluded. A record for which it raises a
                RecordError is kept, and so reported when it is read.

        Raises:
            ValueError: If none is left.
        """
        indices = np.arange(self.start, total if self.stop is None else min(self.stop, total), dtype=np.int64)
        if self.exclude_ids is not None:
            excluded = self._excluded()
            kept = [_id_or_none(id_of, index) not in excluded for index in indices.tolist()]
            indices = indices[np.array(kept, dtype=bool)]
        if not len(indices):
            raise ValueError(f"no record is left: the data has {total}, and {self} leaves none of them")
        return indices

    def _excluded(self) -> set[str]:
        if isinstance(self.exclude_ids, str | PathLike):
            lines = existing_file(self.exclude_ids, "subset.exclude_ids").read_text(encoding="utf-8").splitlines()
            return {line.strip() for line in lines if line.strip()}
        return {str(identity) for identity in self.exclude_ids}


def _id_or_none(id_of: Callable[[int], str], index: int) -> str | None:
    try:
        return id_of(index)
    except RecordError:
        return None
