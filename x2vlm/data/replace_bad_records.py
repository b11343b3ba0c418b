"""Samples with seeded random numbers, in which a bad record is replaced by another one."""

from typing import NamedTuple

from torch.utils.data import Dataset

from x2vlm.data.batch import BadRecord, Sample
from x2vlm.data.record import RecordError
from x2vlm.data.sampler import derive_seed, seeded
from x2vlm.part_errors import PartError, naming_the_part


class DrawResult(NamedTuple):
    """The sample of one draw (None if all records tried were bad), and the bad records that were tried before it."""

    sample: Sample | None
    bad: list[BadRecord]
    draw: int


class SeededDataset(Dataset):
    """An adapter with random numbers seeded by (seed, stream, draw), which replaces bad records by others.

    Args:
        adapter: Gives the sample at an index, or raises ``RecordError``.
        name: Name of the stream.
        seed: Seed of the run.
        attempts: Records tried for one draw before there is no sample; 1 replaces no bad record.
    """

    def __init__(self, adapter: Dataset, name: str, seed: int = 0, attempts: int = 32) -> None:
        self.adapter, self.name, self.seed, self.attempts = adapter, name, seed, attempts

    def __getitem__(self, index_and_draw: tuple[int, int]) -> DrawResult:
        """The sample at ``(index, draw)``; a bad record is replaced by another one, always the same for this draw.

        The replacement comes from anywhere in the data. The line below a bad one is likely as bad (a missing folder, a
        torn file), and in data that is read in order it is in the same batch already.
        """
        index, draw = index_and_draw
        bad: list[BadRecord] = []
        for attempt in range(self.attempts):
            with seeded(derive_seed(self.seed, self.name, draw, attempt)):
                try:
                    return DrawResult(self._sample(index), bad, draw)
                except RecordError as error:
                    bad.append(BadRecord(error.where, error.reason))
            index = derive_seed(self.seed, self.name, draw, attempt, "instead") % len(self.adapter)
        return DrawResult(None, bad, draw)

    def _sample(self, index: int) -> Sample:
        try:
            with naming_the_part(self.adapter, f"record {index}"):
                return self.adapter[index]
        except PartError as error:
            if isinstance(error.__cause__, RecordError):  # of a data set that is no Adapter
                raise error.__cause__ from None
            raise PartError(f"'{self.name}': {error}") from error.__cause__
