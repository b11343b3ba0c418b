"""What adapters of public files share: records by number, of which a subset is used, and the published counts."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.record import MALFORMED, Record, RecordError


class NumberedAdapter(Adapter):
    """Records numbered as the files have them; a subset is taken at the end of a constructor (:meth:`_take`).

    Args:
        pipeline: Transforms.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    published: ClassVar[Mapping[str, int]] = {}
    """Records of each published split, by the name that :attr:`split_name` has."""

    split_name: str | None = None
    """What split the records are, as far as it is known: a key of :attr:`published`."""

    whole = True  # no subset was taken

    shuffle_buffer: int | None = None
    """Records that a stream mixes while it reads the files in runs; None: any record costs the same, in any order."""

    run_lengths: np.ndarray | None = None
    """``[runs]`` int64: how many records lie together (a group of rows), in order, where :attr:`shuffle_buffer` is."""

    def __init__(self, pipeline: Sequence[dict | Callable] = (), limits: dict | RecordLimits | None = None) -> None:
        super().__init__(pipeline, limits)

    def _take(self, total: int, subset: dict | Subset | None, runs: np.ndarray | None = None) -> None:
        """Take the subset of ``total`` records; ``runs`` has the run in which each lies, ascending, if it matters."""
        self.whole = not subset
        self.indices = Subset.of(subset).indices(total, lambda number: str(self._record(number)["id"]))
        if self.shuffle_buffer is not None:
            self.run_lengths = np.unique(runs[self.indices], return_counts=True)[1]

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, index: int) -> Record:
        """The record at ``index``.

        Raises:
            RecordError: If its entry is of another shape, or names a file outside the folder of images or videos.
        """
        number = int(self.indices[index])
        try:
            return self._record(number)
        except MALFORMED as error:  # a shape that nobody has thought of costs its record, not the run
            raise RecordError(f"{type(self).__name__} record {number}", f"its entry is none: {error!r:.200}") from error

    @abstractmethod
    def _record(self, number: int) -> Record:
        """The record of an entry, by its number in the files."""

    def published_count(self) -> int | None:
        """How many records the split had when it was published; None where that is not known."""
        return self.published.get(self.split_name) if self.split_name is not None and self.whole else None


def checked_buffer(shuffle_buffer: int | None) -> int | None:
    """The option, if it is one.

    Raises:
        ValueError: If it is no whole number of 2 or more.
    """
    if shuffle_buffer is not None and (type(shuffle_buffer) is not int or shuffle_buffer < 2):
        raise ValueError(f"shuffle_buffer is {shuffle_buffer!r}; expected a number of records, 2 or more, or None")
    return shuffle_buffer
