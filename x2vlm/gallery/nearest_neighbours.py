"""Nearest-neighbour indexes, registered by name, and the search that all processes share.

An index has ``fill(features)``, which may copy what it needs, and ``search(queries, k)``.

Shape letters: C features of the gallery, R queries, E embed_dim, k nearest.
"""

from typing import Any, Protocol

import torch
from torch import Tensor

from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.gallery.score_check import check_not_nan
from x2vlm.registry import INDEXES

NO_CANDIDATE = -1  # stands for an index where a search returns fewer than k
QUERY_CHUNK = 65536  # queries searched at once


class FeatureIndex(Protocol):
    """The interface of what is registered in ``INDEXES``."""

    def fill(self, features: FeatureStore) -> None:
        """Make these features, and no others, the ones that are searched."""

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines ``[R, k]`` and indices ``[R, k]`` of the nearest; -inf and ``NO_CANDIDATE`` where there are fewer."""


@INDEXES.register_module()
class ExactIndex:
    """Exhaustive search: the cosines of all features, computed in chunks; the features stay where they are stored.

    Args:
        chunk: Features that are read and multiplied at once.
        queries: Queries at once: ``chunk * queries`` cosines are the most that is in memory.
    """

    def __init__(self, chunk: int = 65536, queries: int = 256) -> None:
        if min(chunk, queries) < 1:
            raise ValueError(f"chunk and queries are counts from 1; given chunk={chunk}, queries={queries}.")
        self.chunk, self.queries = chunk, queries
        self.features: FeatureStore | None = None

    def fill(self, features: FeatureStore) -> None:
        """Keep a reference to the features; nothing is copied."""
        self.features = features

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The ``k`` nearest of all features; computed on the device of the queries."""
        scores = torch.full((len(queries), k), -torch.inf)
        indices = torch.full((len(queries), k), NO_CANDIDATE)
        for chunk_indices, feats in self.features.chunks(self.chunk):
            feats = feats.to(queries.device).T
            query_chunks = queries.float().split(self.queries)
            so_far = zip(query_chunks, scores.split(self.queries), indices.split(self.queries), strict=True)
            for query_chunk, best_scores, best_indices in so_far:
                nearest = (query_chunk @ feats).topk(min(k, len(chunk_indices)), dim=1)
                best_scores[:], best_indices[:] = top_candidates(  # views into the results
                    torch.cat([best_scores, nearest.values.cpu()], dim=1),
                    torch.cat([best_indices, chunk_indices[nearest.indices.cpu()]], dim=1),
                    k,
                )
        return scores, indices


def top_candidates(scores: Tensor, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` best candidates of each query, best first; of equal scores the larger index comes first.

    Args:
        scores: ``[R, n]``.
        indices: ``[R, n]`` long, of the candidates.
        k: How many are kept.

    Returns:
        Scores ``[R, k]`` and indices ``[R, k]``.
    """
    by_index = indices.argsort(dim=1, descending=True)
    by_score = scores.gather(1, by_index).argsort(dim=1, descending=True, stable=True)[:, :k]
    order = by_index.gather(1, by_score)
    return scores.gather(1, order), indices.gather(1, order)


def search_distributed(
    index: FeatureIndex, gallery: FeatureStore, queries: FeatureStore, k: int, device: Any = "cpu"
) -> tuple[Tensor, Tensor]:
    """Search for the nearest features of every query; each process searches its shards, and all get the merged result.

    Args:
        index: Empty, the same in every process.
        gallery: ``C`` features, the same in every process.
        queries: ``R`` features, the same in every process.
        k: How many; all if there are fewer.
        device: Where products are computed.

    Returns:
        Cosines ``[R, k]``, best first, and indices ``[R, k]``; -inf and ``NO_CANDIDATE`` where an index returns fewer.

    Raises:
        ValueError: If a feature is not a number.
    """
    k, local = min(k, len(gallery)), gallery.partition(rank(), world_size())
    index.fill(local)
    scores, indices = [], []
    for _, feats in queries.chunks(QUERY_CHUNK):
        local_result = index.search(feats.to(device), k) if len(local) else _no_candidates(len(feats), k)
        results = all_gather_objects(local_result)
        for values in (feats, *(result_scores for result_scores, _ in results)):
            check_not_nan(values, "features")
        merged = top_candidates(*(torch.cat(tensors, dim=1) for tensors in zip(*results, strict=True)), k)
        scores.append(merged[0])
        indices.append(merged[1])
    return torch.cat(scores), torch.cat(indices)


def _no_candidates(count: int, k: int) -> tuple[Tensor, Tensor]:
    return torch.full((count, k), -torch.inf), torch.full((count, k), NO_CANDIDATE)
