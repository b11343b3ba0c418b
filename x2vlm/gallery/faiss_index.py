"""Indexes of the library faiss, with the features of a process in main memory. `pip install "x2vlm[faiss]"`."""

from math import ceil, sqrt
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import ConfigError
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.nearest_neighbours import NO_CANDIDATE
from x2vlm.registry import INDEXES

_POINTS = 64  # training features of each inverted list; faiss recommends 39 or more


@INDEXES.register_module()
class FaissFlat:
    """Exhaustive search by faiss: exact, with all features of the process in main memory.

    Args:
        chunk: Features that are read at once.
    """

    def __init__(self, chunk: int = 65536) -> None:
        if chunk < 1:
            raise ValueError(f"chunk is a count from 1; given {chunk}.")
        self.chunk, self.faiss = chunk, load_faiss()
        self.index: Any = None
        self.indices = torch.zeros(0, dtype=torch.long)

    def fill(self, features: FeatureStore) -> None:
        """Copy the features."""
        self.index = self.faiss.IndexFlatIP(features.width)
        self._add(features)

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` nearest of all features."""
        scores, rows = map(torch.from_numpy, self.index.search(queries.float().cpu().numpy(), k))
        missing = rows < 0
        indices = self.indices[rows.clamp(min=0)].masked_fill(missing, NO_CANDIDATE)
        return scores.masked_fill(missing, -torch.inf), indices

    def _add(self, features: FeatureStore) -> None:
        indices = [self.indices[:0]]
        for chunk_indices, feats in features.chunks(self.chunk):
            self.index.add(feats.numpy())
            indices.append(chunk_indices)
        self.indices = torch.cat(indices)


@INDEXES.register_module()
class FaissIVF(FaissFlat):
    """Inverted lists: features are assigned to the list of the nearest centroid, and a query searches some lists only.

    Approximate: docs/evaluation.md has the recall that was measured. More ``probes`` give more recall and take longer.

    Args:
        lists: How many; None for four times the square root of the number of features, as faiss recommends.
        probes: Lists that are searched for a query.
        seed: Of the centroids.
        chunk: Features that are read at once.
    """

    def __init__(self, lists: int | None = None, probes: int = 32, seed: int = 0, chunk: int = 65536) -> None:
        super().__init__(chunk)
        if min(lists or 1, probes) < 1:
            raise ValueError(f"lists and probes are counts from 1; given lists={lists}, probes={probes}.")
        self.lists, self.probes, self.seed = lists, probes, seed

    def fill(self, features: FeatureStore) -> None:
        """Train the centroids on a sample of the features, then copy all."""
        lists = min(len(features), self.lists or round(4 * sqrt(len(features))))
        quantizer = self.faiss.IndexFlatIP(features.width)
        self.index = self.faiss.IndexIVFFlat(quantizer, features.width, lists, self.faiss.METRIC_INNER_PRODUCT)
        self.index.cp.seed = self.seed
        self.index.cp.min_points_per_centroid = 1  # no warnings about small galleries
        self.index.train(self._sample(features, _POINTS * lists).numpy())
        self.index.nprobe = min(lists, self.probes)
        self._add(features)

    def _sample(self, features: FeatureStore, max_count: int) -> Tensor:
        """At most ``max_count`` features, at a constant stride."""
        stride, before, sampled = max(1, ceil(len(features) / max_count)), 0, []
        for chunk_indices, feats in features.chunks(self.chunk):
            sampled.append(feats[-before % stride :: stride])
            before += len(chunk_indices)
        return torch.cat(sampled)


def load_faiss() -> Any:
    """Import faiss.

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
