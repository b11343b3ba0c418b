"""The data set of a gallery, read so that every context and text carries the index of its record.

Shape letters: B pairs.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from x2vlm.data.bad_record_log import BadRecordLog
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.loader import SeededCollate, make_loader
from x2vlm.data.replace_bad_records import SeededDataset

_RECORD = "record number"  # key in the extras of a sample


@dataclass(frozen=True)
class GalleryData:
    """An evaluation's data set, and how it is read.

    Attributes:
        name: Name of the evaluation.
        dataset: The adapter, built.
        collate: Makes a batch of samples, built.
        batch_size: Records in a batch.
        num_workers: Data workers.
        bad_record_log: Counts and names the records that cannot be read.
    """

    name: str
    dataset: Dataset
    collate: Callable[[list[Sample]], Batch]
    batch_size: int
    num_workers: int = 0
    bad_record_log: BadRecordLog = field(default_factory=BadRecordLog)

    def batches(self, indices: Iterable[int]) -> Iterator[Batch]:
        """Batches of the records at these indices, in order, with an empty batch where all records are bad."""
        dataset = SeededDataset(IndexedDataset(self.dataset), self.name, attempts=1)
        collate = SeededCollate(self.collate, self.name)
        loader = make_loader(dataset, collate, self.batch_size, IndexSampler(indices), self.num_workers)
        with torch.random.fork_rng(devices=[]):  # iter(loader) draws a number from the global generator
            batches = iter(loader)
        yield from batches


class IndexedDataset(Dataset):
    """An adapter whose samples carry the index of their record in their extras."""

    def __init__(self, adapter: Dataset) -> None:
        self.adapter = adapter

    def __len__(self) -> int:
        return len(self.adapter)

    def __getitem__(self, index: int) -> Sample:
        """The sample of a record."""
        sample = self.adapter[index]
        return replace(sample, extras={**sample.extras, _RECORD: index})


class IndexSampler(Sampler[tuple[int, int]]):
    """Record indices as the ``(index, draw)`` that data sets of streams take."""

    def __init__(self, indices: Iterable[int]) -> None:
        self.indices = indices

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return ((index, index) for index in self.indices)

    def __len__(self) -> int:
        return len(self.indices)


def pair_keys(batch: Batch) -> tuple[Tensor, Tensor]:
    """Record index of each pair, ``[B]``, and its position among the pairs of that record, ``[B]``.

    Raises:
        ValueError: If the batch is not of pairs of a context and a text.
    """
    if batch.owner is None or batch.text_owner is not None:
        raise ValueError(
            "a gallery is made of contexts (images, regions, videos), one for each text; "
            f"{batch.where[0]} has {'none' if batch.owner is None else 'several'}."
        )
    if batch.ids is None or any(_RECORD not in extras for extras in batch.extras):
        raise ValueError("a gallery needs Batch.ids and Batch.extras, as PairCollate gives them.")
    records = torch.tensor([extras[_RECORD] for extras in batch.extras])[batch.owner]
    starts = torch.cat([records.new_ones(1, dtype=torch.bool), records.diff() != 0])
    positions = torch.arange(len(records))
    return records, positions - torch.where(starts, positions, 0).cummax(0).values
