"""From a place in the data to a batch, in a worker process or not: seeded by counters, past bad records."""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from x2vlm.data.batch import BadRecord, Batch, Sample
from x2vlm.data.record import RecordError
from x2vlm.data.sampler import derive_seed, seeded

Collate = Callable[[list[Sample]], Batch]
PREFETCH_FACTOR = 2  # batches that a worker has ready; more even out records of very different cost


class Drawn(NamedTuple):
    """What one draw gave: a sample, or None if there was none to be had, and the bad records met on the way."""

    sample: Sample | None
    bad: list[BadRecord]
    draw: int


class SeededDataset(Dataset):
    """An adapter, whose random numbers follow from (seed, stream, draw), and whose bad records do not stop anything.

    Args:
        adapter: Gives the sample at an index, or raises ``RecordError``.
        name: Name of the stream.
        seed: Seed of the run.
        attempts: Records tried for one draw before there is no sample; 1 takes no other record in place of a bad one.
    """

    def __init__(self, adapter: Dataset, name: str, seed: int = 0, attempts: int = 32) -> None:
        self.adapter, self.name, self.seed, self.attempts = adapter, name, seed, attempts

    def __getitem__(self, place: tuple[int, int]) -> Drawn:
        """The sample at ``(index, draw)``; in place of a bad record another one, always the same for this draw.

        The other one comes from anywhere in the data. The line below a bad one is likely as bad (a missing folder, a
        torn file), and in data that is read in order it is in the same batch already.
        """
        index, draw = place
        bad: list[BadRecord] = []
        for attempt in range(self.attempts):
            with seeded(derive_seed(self.seed, self.name, draw, attempt)):
                try:
                    return Drawn(self.adapter[index], bad, draw)
                except RecordError as error:
                    bad.append(BadRecord(error.where, error.reason))
            index = derive_seed(self.seed, self.name, draw, attempt, "instead") % len(self.adapter)
        return Drawn(None, bad, draw)


class SeededCollate:
    """A collate function, whose random numbers follow from (seed, stream, first draw of the batch).

    Args:
        collate: Makes a batch of samples.
        name: Name of the stream.
        seed: Seed of the run.
    """

    def __init__(self, collate: Collate, name: str, seed: int = 0) -> None:
        self.collate, self.name, self.seed = collate, name, seed

    def __call__(self, drawn: Sequence[Drawn]) -> Batch:
        """One batch, which also says what was met while it was made; empty if no record could be used."""
        samples = [one.sample for one in drawn if one.sample is not None]
        bad = [record for one in drawn for record in one.bad]
        if samples:
            with seeded(derive_seed(self.seed, self.name, drawn[0].draw, "collate")):
                batch = self.collate(samples)
        else:
            nothing = torch.zeros(0, 0, dtype=torch.long)
            batch = Batch(text_ids=nothing, text_mask=nothing.bool())
        return replace(batch, bad=[*bad, *batch.bad], drawn=len(samples) + len(bad))


def make_loader(
    dataset: Dataset,
    collate: Callable,
    batch_size: int,
    sampler: Any,
    num_workers: int,
    prefetch_factor: int = PREFETCH_FACTOR,
    persistent_workers: bool = False,
) -> DataLoader:
    """A torch loader with what all of ours have in common; with workers, OpenCV keeps to one core from here on.

    Batches lie in page-locked memory where there is a GPU, so that they are copied to it while it computes.

    Args:
        dataset: Gives a sample at a place.
        collate: Makes a batch of samples.
        batch_size: Samples in a batch.
        sampler: Places, in order.
        num_workers: Processes that prepare batches; 0 prepares them where they are asked for, and the rest is ignored.
        prefetch_factor: Batches that each of them has ready.
        persistent_workers: Keep them from one pass over the data to the next.
    """
    if num_workers:
        # As torch does with its own: workers are as many as there are cores, and OpenCV would take all cores for each.
        # A forked process inherits it, and must not be told: OpenCV would wait for ever for threads of this process.
        cv2.setNumThreads(1)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=sampler,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_begin_worker,
        prefetch_factor=prefetch_factor if num_workers else None,
        persistent_workers=persistent_workers and num_workers > 0,
    )


def _begin_worker(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal. The main process finishes its step, for which it needs its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if multiprocessing.get_start_method() != "fork":
        cv2.setNumThreads(1)
