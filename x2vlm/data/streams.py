"""Streams: endless, seekable rows of batches for training; and loaders that read everything once, for evaluation."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any

import torch
from torch.utils.data import Dataset

from x2vlm.building import ConfigError, argument_problems, build
from x2vlm.data.bad_records import BadRecordLog, TooManyBadRecordsError, named_records
from x2vlm.data.batch import BadRecord, Batch
from x2vlm.data.data_root import with_data_root
from x2vlm.data.loader import PREFETCH_FACTOR, Collate, SeededCollate, SeededDataset, make_loader
from x2vlm.data.sampler import StreamSampler
from x2vlm.distributed import rank, world_size
from x2vlm.registry import DATASETS, TRANSFORMS

_EMPTY_BATCHES = 32  # in a row, after which a stream is given up


class Stream:
    """One kind of data in the mixed step: an endless row of batches that can go on from any place.

    Args:
        name: What it is called in configs, logs and messages.
        dataset: The adapter, built.
        collate: Makes a batch of samples, built; a config may leave it out and gets ``PairCollate``.
        batch_size: Pairs in a batch, per process.
        weight: Factor of the stream's losses.
        objectives: Names of the objectives, or a factor of the losses for each name, beside ``weight`` and the
            objective's own: ``dict(itc=0.5, itm=0.5, mlm=0.5, bbox=1.0)``. None for all of the model.
        max_images: Records in a batch, where a record gives several pairs (regions); None: as many as pairs.
        num_workers: Processes that prepare batches; 0 prepares them between the steps.
        shuffle: False reads the records as they stand, pass after pass.
        prefetch_factor: Batches that each of the ``num_workers`` has ready. More even out records of very different
            cost (long videos), and take the memory of as many batches.
    """

    def __init__(
        self,
        name: str,
        dataset: Dataset,
        collate: Collate,
        batch_size: int,
        weight: float = 1.0,
        objectives: Sequence[str] | Mapping[str, float] | None = None,
        max_images: int | None = None,
        num_workers: int = 0,
        shuffle: bool = True,
        prefetch_factor: int = PREFETCH_FACTOR,
    ) -> None:
        sizes = (("batch_size", batch_size, 1), ("max_images", max_images, 1), ("prefetch_factor", prefetch_factor, 1))
        for key, value, least in (*sizes, ("weight", weight, 0)):
            if value is not None and value < least:
                raise ValueError(f"{key} is {value}; expected {least} or more.")
        if not len(dataset):
            raise ValueError(f"the data set of stream '{name}' has no records.")
        self.name, self.dataset, self.collate = name, dataset, collate
        self.batch_size, self.weight = batch_size, weight
        self.objectives = objectives
        if objectives is not None:
            self.objectives = dict(objectives) if isinstance(objectives, Mapping) else tuple(objectives)
        self.records_per_batch = max_images or batch_size
        self.num_workers, self.shuffle, self.prefetch_factor = num_workers, shuffle, prefetch_factor
        self.draws = 0  # records drawn so far for batches that were handed out, over all processes
        self._batches: Iterator[Batch] | None = None

    def start(self, seed: int) -> None:
        """Open the stream at the place of ``self.draws``; whatever the place, it costs the same."""
        sampler = StreamSampler(
            len(self.dataset), seed, self.name, self.draws, self.shuffle, rank=rank(), world_size=world_size()
        )
        loader = make_loader(
            SeededDataset(self.dataset, self.name, seed),
            SeededCollate(self.collate, self.name, seed),
            self.records_per_batch,
            sampler,
            self.num_workers,
            self.prefetch_factor,
        )
        with torch.random.fork_rng(devices=[]):  # iter(loader) draws a number from the global generator
            self._batches = iter(loader)

    def __next__(self) -> Batch:
        """The next batch that has pairs; it also tells of the records of those before it that had none.

        Raises:
            TooManyBadRecordsError: If there seems to be no such batch.
        """
        bad: list[BadRecord] = []
        drawn = 0
        for _ in range(_EMPTY_BATCHES):
            batch = next(self._batches)
            self.draws += self.records_per_batch * world_size()
            bad, drawn = bad + batch.bad, drawn + batch.drawn
            if len(batch):
                return replace(batch, bad=bad, drawn=drawn)
        raise TooManyBadRecordsError(
            f"stream '{self.name}': {_EMPTY_BATCHES} batches in a row had not one pair; {len(bad)} of the {drawn} "
            f"records read for them could not be used.\n{named_records(bad)}"
        )

    def stop(self) -> None:
        """Let the workers go."""
        self._batches = None


class EvaluationLoader:
    """Every record once, in the order of the data set; bad records are counted and left out.

    Processes take turns: process ``r`` of ``W`` reads records ``r, r + W, ...``.

    Args:
        name: Name of the evaluation.
        dataset: The adapter, built.
        collate: Makes a batch of samples, built.
        batch_size: Records in a batch, per process.
        num_workers: Processes that prepare batches.
        ledger: Where bad records are entered.
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
        ledger: BadRecordLog | None = None,
        seed: int = 0,
        persistent_workers: bool = False,
        at_end: bool = False,
    ) -> None:
        if not len(dataset):
            raise ValueError(f"the data set of evaluation '{name}' has no records.")
        self.name, self.dataset, self.batch_size, self.at_end = name, dataset, batch_size, at_end
        self.ledger = BadRecordLog() if ledger is None else ledger
        self._places = [(index, index) for index in range(rank(), len(dataset), world_size())]
        self._loader = make_loader(
            SeededDataset(dataset, name, seed, attempts=1),
            SeededCollate(collate, name, seed),
            batch_size,
            self._places,
            num_workers,
            persistent_workers=persistent_workers,
        )

    def __len__(self) -> int:
        return ceil(len(self._places) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        with torch.random.fork_rng(devices=[]):
            batches = iter(self._loader)
        for batch in batches:
            self.ledger.note(self.name, batch)
            if len(batch):
                yield batch


def build_streams(cfg: Mapping[str, Mapping], tokenizer: Any = None, data_root: str | None = None) -> dict[str, Stream]:
    """The streams of a config by name; those of weight 0 are left out, and nothing of theirs is built.

    Relative paths of the data sets start from ``data_root``, if there is one.

    Raises:
        ConfigError: If a part cannot be built, or no stream has a weight.
        FileNotFoundError: If an annotation file is missing.
    """
    chosen = {name: one for name, one in cfg.items() if one.get("weight", 1.0) != 0}
    streams = {name: _build_stream(name, one, tokenizer, data_root) for name, one in chosen.items()}
    if not streams:
        raise ConfigError("there is nothing to train on: no stream has a weight above 0.", "streams")
    return streams


def build_evaluation_loader(
    name: str,
    cfg: Mapping[str, Any],
    tokenizer: Any = None,
    ledger: BadRecordLog | None = None,
    data_root: str | None = None,
) -> EvaluationLoader:
    """The loader of one evaluation: ``dict(dataset, collate, batch_size, num_workers)``."""
    parts = _build_parts(f"evaluations.{name}", cfg, EvaluationLoader, tokenizer, data_root)
    return _constructed(f"evaluations.{name}", EvaluationLoader, name=name, ledger=ledger, **parts)


def _build_stream(name: str, cfg: Mapping[str, Any], tokenizer: Any, data_root: str | None) -> Stream:
    path = f"streams.{name}"
    pairs = {"batch_size": cfg["batch_size"]} if cfg.get("max_images") and "batch_size" in cfg else {}
    return _constructed(path, Stream, name=name, **_build_parts(path, cfg, Stream, tokenizer, data_root, **pairs))


def _build_parts(
    path: str, cfg: Mapping[str, Any], target: type, tokenizer: Any, data_root: str | None, **derived: Any
) -> dict[str, Any]:
    """The config with data set and collate function built; its keys are those of the target's constructor."""
    if problems := argument_problems(target, cfg, derived=("name", "collate")):
        raise ConfigError(" ".join(problems), path)
    parts = {"collate": {"type": "PairCollate"}, **cfg}
    parts["dataset"] = build(DATASETS, with_data_root(cfg["dataset"], data_root), f"{path}.dataset")
    parts["collate"] = build(TRANSFORMS, parts["collate"], f"{path}.collate", tokenizer=tokenizer, **derived)
    return parts


def _constructed(path: str, target: type, **parts: Any) -> Any:
    try:
        return target(**parts)
    except ValueError as error:
        raise ConfigError(str(error), path) from error
