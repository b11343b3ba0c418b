"""The concatenation of several data sets."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
from mmengine.logging import print_log
from torch.utils.data import Dataset

from x2vlm.building import build
from x2vlm.data.batch import Sample
from x2vlm.data.datasets.base import Adapter, apply_pipeline
from x2vlm.data.record import Record, identity
from x2vlm.registry import DATASETS

ENOUGH = 0.9  # of the published images: links of collections from the web die


@DATASETS.register_module()
class Concat(Adapter):
    """The records of several data sets, of the first one first; each goes through the pipeline of its data set.

    Records of different data sets are different things, whatever they are called: ``"0/9"`` is what ``"9"`` of the
    first data set is called here. The name it has there is the record's ``own_id``.

    Where one of them is read in runs (``shuffle_buffer``), the whole is, with the largest of their buffers; each record
    of the others is a run of its own.

    Args:
        datasets: Adapters: dicts for the DATASETS registry, or built ones.
        times: How often each data set's records are repeated in an epoch; None: all once. ``(2, 1)`` doubles the first.
        names: What to call each data set in the log.
        images: How many images each has as published (X2-VLM: arXiv:2211.12402v1, Table 1), None where that is not
            known. A data set with less than nine tenths as many records is reported in the log: part of it was lost.
        pipeline: Transforms that come after those of the data sets. Data sets without a pipeline can share this one.
        join_ids: Equal identities of different data sets mean one thing (captions and boxes of the same images).

    Raises:
        ValueError: If there is no data set, or ``times`` does not fit them.
    """

    def __init__(
        self,
        datasets: Sequence[dict | Dataset],
        times: Sequence[int] | None = None,
        names: Sequence[str] | None = None,
        images: Sequence[int | None] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        join_ids: bool = False,
    ) -> None:
        super().__init__(pipeline)
        self.join_ids = join_ids
        self.datasets = [build(DATASETS, dataset, path=f"datasets[{i}]") for i, dataset in enumerate(datasets)]
        self.times = [1] * len(self.datasets) if times is None else list(times)
        if not self.datasets:
            raise ValueError("datasets is empty; expected one data set or more")
        if len(self.times) != len(self.datasets) or any(type(count) is not int or count < 1 for count in self.times):
            raise ValueError(
                f"times is {times}; expected a whole number of 1 or more for each of the {len(self.datasets)} data sets"
            )
        for option, given in (("names", names), ("images", images)):
            if given is not None and len(given) != len(self.datasets):
                raise ValueError(f"{option} has {len(given)} entries for {len(self.datasets)} data sets: {given}")
        self.names = [f"datasets[{i}]" for i in range(len(self.datasets))] if names is None else list(names)
        self._compare(images)
        self._ends = [
            *accumulate(len(dataset) * count for dataset, count in zip(self.datasets, self.times, strict=True))
        ]

        buffers = [getattr(dataset, "shuffle_buffer", None) for dataset in self.datasets]
        self.shuffle_buffer = max((buffer for buffer in buffers if buffer is not None), default=None)
        self.run_lengths = None if self.shuffle_buffer is None else self._run_lengths()

    def __len__(self) -> int:
        return self._ends[-1]

    def _run_lengths(self) -> np.ndarray:
        """Records of each run of all data sets, as often as they are repeated."""
        runs = []
        for dataset, count in zip(self.datasets, self.times, strict=True):
            lengths = getattr(dataset, "run_lengths", None)
            runs += [np.ones(len(dataset), dtype=np.int64) if lengths is None else lengths] * count
        return np.concatenate(runs)

    def _compare(self, images: Sequence[int | None] | None) -> None:
        """Tell the sizes of data sets of which a published one is known."""
        for name, dataset, often, published in zip(self.names, self.datasets, self.times, images or (), strict=False):
            if published is None:
                continue
            short = len(dataset) < ENOUGH * published
            print_log(
                f"{name}: {len(dataset):,} records, {often} times an epoch; published: {published:,} images."
                + (" It is much smaller than that." if short else ""),
                logger="current",
                level=logging.WARNING if short else logging.INFO,
            )

    def locate(self, index: int) -> tuple[int, int]:
        """Which data set holds the record at ``index``, and the index of the record there."""
        which = next(i for i, end in enumerate(self._ends) if index < end)
        return which, (index - (self._ends[which - 1] if which else 0)) % len(self.datasets[which])

    def record(self, index: int) -> Record:
        """The record at ``index``, before all transforms.

        Raises:
            RecordError: If it cannot be used.
        """
        which, inner = self.locate(index)
        return self._set_apart(self.datasets[which].record(inner), which)

    def __getitem__(self, index: int) -> Any:
        """The record at ``index`` after the transforms of its data set, and then those of this one.

        Raises:
            RecordError: If the record, or a file it names, cannot be used; ``where`` says which.
            IndexError: If there is no such record.
        """
        self._check(index)
        which, inner = self.locate(index)
        result = self._set_apart(self.datasets[which][inner], which)
        return apply_pipeline(self.pipeline, result, result["where"]) if self.pipeline else result

    def _set_apart(self, result: Any, which: int) -> Any:
        """A record or a sample, whose identities say which data set they belong to."""
        if self.join_ids or len(self.datasets) == 1:
            return result
        if isinstance(result, Sample):
            return replace(result, ids=[f"{which}/{one}" for one in result.ids])
        named = {"id": f"{which}/{identity(result)}", "own_id": result.get("own_id", identity(result))}
        return result | named | ({"ids": [f"{which}/{one}" for one in result["ids"]]} if "ids" in result else {})
