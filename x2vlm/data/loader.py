"""Loaders: seeded samples and batches in worker processes, past bad records; every record once, for evaluation."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader, Dataset

from x2vlm.data.bad_record_log import BadRecordLog
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.replace_bad_records import DrawResult, SeededDataset
from x2vlm.data.sampler import derive_seed, seeded
from x2vlm.distributed import rank, world_size
from x2vlm.part_errors import naming_the_part

Collate = Callable[[list[Sample]], Batch]
PREFETCH_FACTOR = 2  # batches that a worker has ready; more of them even out records of very different cost


class SeededCollate:
    """A collate function with random numbers seeded by (seed, stream, first draw of the batch).

    Args:
        collate: Makes a batch of samples.
        name: Name of the stream.
        seed: Seed of the run.
    """

    def __init__(self, collate: Collate, name: str, seed: int = 0) -> None:
        self.collate, self.name, self.seed = collate, name, seed

    def __call__(self, draws: Sequence[DrawResult]) -> Batch:
        """One batch, with the bad records that were met while it was made; empty if no record could be used."""
        samples = [draw.sample for draw in draws if draw.sample is not None]
        bad = [record for draw in draws for record in draw.bad]
        if samples:
            where = f"'{self.name}', records {', '.join(_places(samples[:2]))}, ..."
            seed = derive_seed(self.seed, self.name, draws[0].draw, "collate")
            with seeded(seed), naming_the_part(self.collate, where):
                batch = self.collate(samples)
        else:
            empty = torch.zeros(0, 0, dtype=torch.long)
            batch = Batch(text_ids=empty, text_mask=empty.bool())
        return replace(batch, bad=[*bad, *batch.bad], drawn=len(samples) + len(bad))


def _places(samples: Sequence[Sample]) -> list[str]:
    return [str(getattr(sample, "where", "without a place")) for sample in samples]


class EvaluationLoader:
    """Every record once, in the order of the data set; bad records are counted and left out.

    Processes take turns: process ``r`` of ``W`` reads records ``r, r + W, ...``.

    Args:
        name: Name of the evaluation.
        dataset: The adapter, built.
        collate: Makes a batch of samples, built.
        batch_size: Records in a batch, per process; each gives all of its pairs.
        num_workers: Processes that prepare batches.
        bad_record_log: Where bad records are counted; None makes a new one.
        seed: Seed of what a pipeline may draw at random; the same in every evaluation, so that results compare.
        persistent_workers: Keep the processes from one evaluation to the next, which then begins at once; they take
            memory meanwhile.
        at_end: A test set: in training it is read once, at the end, with the best checkpoint. Other evaluations are
            made at every ``val_interval``.
    """

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        collate: Collate,
        batch_size: int,
        num_workers: int = 0,
        bad_record_log: BadRecordLog | None = None,
        seed: int = 0,
        persistent_workers: bool = False,
        at_end: bool = False,
    ) -> None:
        if not len(dataset):
            raise ValueError(f"the data set of evaluation '{name}' has no records.")
        self.name, self.dataset, self.collate = name, dataset, collate
        self.batch_size, self.at_end = batch_size, at_end
        self.bad_record_log = BadRecordLog() if bad_record_log is None else bad_record_log
        self._indices_and_draws = [(index, index) for index in range(rank(), len(dataset), world_size())]
        self._loader = make_loader(
            SeededDataset(dataset, name, seed, attempts=1),
            SeededCollate(collate, name, seed),
            batch_size,
            self._indices_and_draws,
            num_workers,
            persistent_workers=persistent_workers,
        )

    def __len__(self) -> int:
        return ceil(len(self._indices_and_draws) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        with torch.random.fork_rng(devices=[]):
            batches = iter(self._loader)
        for batch in batches:
            self.bad_record_log.note(self.name, batch)
            if len(batch):
                yield batch


def make_loader(
    dataset: Dataset,
    collate: Callable,
    batch_size: int,
    sampler: Any,
    num_workers: int,
    prefetch_factor: int = PREFETCH_FACTOR,
    persistent_workers: bool = False,
) -> DataLoader:
    """A torch DataLoader with the settings that all loaders share; with workers, OpenCV keeps to one core from here on.

    Batches lie in page-locked memory where there is a GPU, so that they are copied to it while it computes.

    Args:
        dataset: Gives a sample for each entry of the sampler.
        collate: Makes a batch of samples.
        batch_size: Samples in a batch.
        sampler: What the dataset is indexed with, in order.
        num_workers: Processes that prepare batches; 0 prepares them in this process, and the rest is ignored.
        prefetch_factor: Batches that each of them prepares ahead.
        persistent_workers: Keep them from one pass over the data to the next.
    """
    if num_workers:
        # As torch limits its threads: there are as many workers as cores, and OpenCV would take all cores for each.
        # A forked process inherits it, and must not set it: OpenCV would wait for ever for threads of this process.
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
