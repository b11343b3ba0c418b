"""Indexes of the library faiss, which hold the rows of their process in main memory. `pip install "x2vlm[faiss]"`."""

from math import ceil, sqrt
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import ConfigError
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.index import NOWHERE
from x2vlm.registry import INDEXES

_POINTS = 64  # that each list is learned from; faiss asks for 39 or more


@INDEXES.register_module()
class FaissFlat:
    """All cosines, by faiss: exact, with all of the process's rows in main memory.

    Args:
        chunk: FeatureStore that are read at once.
    """

    def __init__(self, chunk: int = 65536) -> None:
        if chunk < 1:
            raise ValueError(f"chunk is a count from 1; given {chunk}.")
        self.chunk, self.faiss = chunk, load_faiss()
        self.index: Any = None
        self.numbers = torch.zeros(0, dtype=torch.long)

    def fill(self, rows: FeatureStore) -> None:
        """Copy the rows."""
        self.index = self.faiss.IndexFlatIP(rows.width)
        self._add(rows)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The nearest of all rows."""
        scores, places = map(torch.from_numpy, self.index.search(queries.float().cpu().numpy(), k))
        nowhere = places < 0
        numbers = self.numbers[places.clamp(min=0)].masked_fill(nowhere, NOWHERE)
        return scores.masked_fill(nowhere, -torch.inf), numbers

    def _add(self, rows: FeatureStore) -> None:
        numbers = [self.numbers[:0]]
        for places, feats in rows.chunks(self.chunk):
            self.index.add(feats.numpy())
            numbers.append(places)
        self.numbers = torch.cat(numbers)


@INDEXES.register_module()
class FaissIVF(FaissFlat):
    """The cosines of the rows in the nearest lists only: rows are sorted into lists by the nearest of as many centres.

    Approximate: docs/evaluation.md has the recall that was measured. More ``probes`` find more and take longer.

    Args:
        lists: How many; None for four times the square root of the number of rows, as faiss advises.
        probes: Lists that a query looks into.
        seed: Of the centres.
        chunk: FeatureStore that are read at once.
    """

    def __init__(self, lists: int | None = None, probes: int = 32, seed: int = 0, chunk: int = 65536) -> None:
        super().__init__(chunk)
        if min(lists or 1, probes) < 1:
            raise ValueError(f"lists and probes are counts from 1; given lists={lists}, probes={probes}.")
        self.lists, self.probes, self.seed = lists, probes, seed

    def fill(self, rows: FeatureStore) -> None:
        """Learn the centres from some of the rows, then copy all."""
        lists = min(len(rows), self.lists or round(4 * sqrt(len(rows))))
        quantizer = self.faiss.IndexFlatIP(rows.width)
        self.index = self.faiss.IndexIVFFlat(quantizer, rows.width, lists, self.faiss.METRIC_INNER_PRODUCT)
        self.index.cp.seed = self.seed
        self.index.cp.min_points_per_centroid = 1  # silences advice about small galleries
        self.index.train(self._some(rows, _POINTS * lists).numpy())
        self.index.nprobe = min(lists, self.probes)
        self._add(rows)

    def _some(self, rows: FeatureStore, most: int) -> Tensor:
        """Every so many-th row."""
        step, before, chosen = max(1, ceil(len(rows) / most)), 0, []
        for places, feats in rows.chunks(self.chunk):
            chosen.append(feats[-before % step :: step])
            before += len(places)
        return torch.cat(chosen)


def load_faiss() -> Any:
    """The library.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(
            "this index needs faiss, which is not installed: pip install faiss-cpu. ExactIndex needs nothing."
        ) from error
    return faiss
