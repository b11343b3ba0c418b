"""Streams: endless, seekable iterators of batches for training; streams and evaluation loaders built from configs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

import torch
from mmengine.logging import print_log
from torch.utils.data import Dataset

from x2vlm.building import argument_problems, build
from x2vlm.data.bad_record_log import BadRecordLog, TooManyBadRecordsError, format_bad_records
from x2vlm.data.batch import BadRecord, Batch, Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.data_root import with_data_root
from x2vlm.data.loader import PREFETCH_FACTOR, Collate, EvaluationLoader, SeededCollate, make_loader
from x2vlm.data.record_contract import base_class_problem
from x2vlm.data.replace_bad_records import SeededDataset
from x2vlm.data.sampler import StreamSampler
from x2vlm.data.sharded_sampler import ShardedSampler
from x2vlm.distributed import rank, world_size
from x2vlm.part_errors import ConfigError, PartError, is_foreign, naming_the_part
from x2vlm.registry import DATASETS, TRANSFORMS

_EMPTY_BATCHES = 32  # in a row, after which a stream raises


class Stream:
    """One kind of data in the mixed step: an endless iterator of batches that can resume at any draw.

    Batch size: without ``max_images``, ``batch_size`` records are read for a batch and each gives all of its pairs, so
    that a batch has ``batch_size`` pairs where every record gives one (an image and a caption). With ``max_images``,
    ``max_images`` records are read, and of all their pairs (regions) ``batch_size`` random ones are kept.

    Args:
        name: What it is called in configs, logs and messages.
        dataset: The adapter, built.
        collate: Makes a batch of samples, built; a config may leave it out and gets ``PairCollate``.
        batch_size: Records in a batch, per process; pairs in a batch, per process, where there are ``max_images``.
        weight: Factor of the stream's losses.
        objectives: Names of the objectives, or a factor of the losses for each name, beside ``weight`` and the
            objective's ``weight``: ``dict(itc=0.5, itm=0.5, mlm=0.5, bbox=1.0)``. None for all of the model.
        max_images: Records in a batch, per process, for records that give several pairs (regions); None: ``batch_size``
            records, of which all pairs are kept.
        num_workers: Processes that prepare batches; 0 prepares them between the steps.
        shuffle: False reads the records in order, epoch after epoch.
        prefetch_factor: Batches that each of the ``num_workers`` prepares ahead. More of them even out records of
            very different cost (long videos), and take the memory of as many batches.
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
        for key, value, least in (*sizes, ("num_workers", num_workers, 0), ("weight", weight, 0)):
            if value is not None and not least <= value < inf:  # a weight that is NaN, too
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
        """Start at the draw ``self.draws``; any draw costs the same."""
        loader = make_loader(
            SeededDataset(self.dataset, self.name, seed),
            SeededCollate(self.collate, self.name, seed),
            self.records_per_batch,
            self._sampler(seed),
            self.num_workers,
            self.prefetch_factor,
        )
        with torch.random.fork_rng(devices=[]):  # iter(loader) draws a number from the global generator
            self._batches = iter(loader)

    def _sampler(self, seed: int) -> StreamSampler:
        """Records from anywhere in the data, or in runs as its files have them (``shuffle_buffer`` of the adapter)."""
        place = dict(seed=seed, stream=self.name, start=self.draws, rank=rank(), world_size=world_size())
        buffer = getattr(self.dataset, "shuffle_buffer", None)
        if buffer is None or not self.shuffle:
            return StreamSampler(len(self.dataset), shuffle=self.shuffle, **place)
        runs = self.dataset.run_lengths
        return ShardedSampler(runs, buffer, self.records_per_batch, self.num_workers, **place)

    def __next__(self) -> Batch:
        """The next batch that has pairs; ``bad`` and ``drawn`` count the batches skipped before it, too.

        Raises:
            TooManyBadRecordsError: If 32 batches in a row have no pair.
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
            f"stream '{self.name}': {_EMPTY_BATCHES} batches in a row had no pair; {len(bad)} of the {drawn} "
            f"records read for them could not be used.\n{format_bad_records(bad)}"
        )

    def stop(self) -> None:
        """Stop the workers."""
        self._batches = None


def build_streams(cfg: Mapping[str, Mapping], tokenizer: Any = None, data_root: str | None = None) -> dict[str, Stream]:
    """The streams of a config by name; those of weight 0 are left out, and nothing of theirs is built.

    Relative paths of the data sets start from ``data_root``, if there is one.

    Raises:
        ConfigError: If a component cannot be built, or no stream has a weight.
        FileNotFoundError: If an annotation file is missing.
    """
    weighted = {name: stream for name, stream in cfg.items() if stream.get("weight", 1.0) != 0}
    streams = {name: _build_stream(name, stream, tokenizer, data_root) for name, stream in weighted.items()}
    if not streams:
        raise ConfigError("there is nothing to train on: no stream has a weight above 0.", "streams")
    return streams


def build_evaluation_loader(
    name: str,
    cfg: Mapping[str, Any],
    tokenizer: Any = None,
    bad_record_log: BadRecordLog | None = None,
    data_root: str | None = None,
) -> EvaluationLoader:
    """The loader of one evaluation: ``dict(dataset, collate, batch_size, num_workers)``."""
    components = _build_components(f"evaluations.{name}", cfg, EvaluationLoader, tokenizer, data_root)
    return _constructed(f"evaluations.{name}", EvaluationLoader, name=name, bad_record_log=bad_record_log, **components)


def describe_batch_size(stream: Mapping[str, Any]) -> str:
    """What ``batch_size`` and ``max_images`` of a stream's config mean, in a phrase.

    ``batch_size`` counts pairs where there are ``max_images``, and records otherwise.
    """
    if stream.get("max_images"):
        return f"batches of {stream['batch_size']} pairs, chosen at random from {stream['max_images']} records"
    return f"batches of {stream['batch_size']} records, with all of their pairs"


def _build_stream(name: str, cfg: Mapping[str, Any], tokenizer: Any, data_root: str | None) -> Stream:
    path = f"streams.{name}"
    kept_pairs = {"batch_size": cfg["batch_size"]} if cfg.get("max_images") and "batch_size" in cfg else {}
    return _constructed(
        path, Stream, name=name, **_build_components(path, cfg, Stream, tokenizer, data_root, **kept_pairs)
    )


def _build_components(
    path: str, cfg: Mapping[str, Any], target: type, tokenizer: Any, data_root: str | None, **derived: Any
) -> dict[str, Any]:
    """The config with data set and collate function built; its keys are those of the target's constructor."""
    if problems := argument_problems(target, cfg, derived=("name", "collate")):
        raise ConfigError(" ".join(problems), path)
    components = {"collate": {"type": "PairCollate"}, **cfg}
    components["dataset"] = build(DATASETS, with_data_root(cfg["dataset"], data_root), f"{path}.dataset")
    components["collate"] = build(TRANSFORMS, components["collate"], f"{path}.collate", tokenizer=tokenizer, **derived)
    check_dataset(f"{path}.dataset", components["dataset"], components["collate"])
    return components


def check_dataset(path: str, dataset: Dataset, collate: Collate) -> None:
    """Read the first and the last record of a plugin's data set; one of them may be a bad one.

    Args:
        path: Where the data set stands in the config.
        dataset: The data set, built.
        collate: What makes batches of its samples, built.

    Raises:
        ConfigError: If it has no length, or gives something that ``PairCollate`` does not take.
        PartError: If it raises anything but a ``RecordError``.
    """
    if not is_foreign(dataset):
        return
    name = type(dataset).__name__
    if problem := base_class_problem(dataset):
        raise ConfigError(problem, path)
    try:
        with naming_the_part(dataset, f"{path}: its length"):
            count = len(dataset)
        reader, places = SeededDataset(dataset, path, attempts=1), sorted({0, count - 1}) if count else []
        draws = [reader[index, 0] for index in places]
        for index, draw in zip(places, draws, strict=True):
            if draw.sample is not None and isinstance(collate, PairCollate) and not isinstance(draw.sample, Sample):
                raise ConfigError(
                    f"{name} gave {type(draw.sample).__name__} for record {index}, and {type(collate).__name__} "
                    "takes Samples: derive it from x2vlm.data.datasets.base.Adapter, end its pipeline with PackSample, "
                    "and hand that on: super().__init__(pipeline, limits).",
                    path,
                )
        if draws and all(draw.sample is None for draw in draws):
            print_log(
                f"{path}: neither the first nor the last record of {name} could be used: {draws[0].bad[0].reason}.",
                logger="current",
                level=30,
            )
    except PartError as error:
        if isinstance(error.__cause__, (TypeError, NotImplementedError)) and "its length" in str(error):
            raise ConfigError(f"{name} has no __len__, the number of its records.", path) from error
        raise


def _constructed(path: str, target: type, **components: Any) -> Any:
    try:
        return target(**components)
    except ValueError as error:
        raise ConfigError(str(error), path) from error
