"""What finds the nearest features of a gallery, chosen by name; and the search that all processes share.

An index has ``fill(rows)``, which may keep what it needs of them, and ``search(queries, k)``.

Shape letters: C rows of the gallery, R queries, E embed_dim, k nearest.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.gallery.feature_store import FeatureStore
from x2vlm.registry import INDEXES

NOWHERE = -1  # in place of a row's number, where an index finds fewer than asked for


class Index(Protocol):
    """What is registered in ``INDEXES``."""

    def fill(self, rows: FeatureStore) -> None:
        """Take these rows, and no others, to search among."""

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Cosines ``[R, k]`` and numbers ``[R, k]`` of the nearest rows; -inf and ``NOWHERE`` where there are fewer."""


@INDEXES.register_module()
class ExactIndex:
    """All cosines, as products of a chunk of rows with a few queries; the gallery stays where it is.

    Args:
        chunk: FeatureStore that are read and multiplied at once.
        queries: Queries at once: ``chunk * queries`` cosines are the most that is held.
    """

    def __init__(self, chunk: int = 65536, queries: int = 256) -> None:
        if min(chunk, queries) < 1:
            raise ValueError(f"chunk and queries are counts from 1; given chunk={chunk}, queries={queries}.")
        self.chunk, self.queries = chunk, queries
        self.rows: FeatureStore | None = None

    def fill(self, rows: FeatureStore) -> None:
        """Note where the rows are."""
        self.rows = rows

    def search(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """The nearest of all rows; computed where the queries are."""
        scores = torch.full((len(queries), k), -torch.inf)
        numbers = torch.full((len(queries), k), NOWHERE)
        for places, feats in self.rows.chunks(self.chunk):
            feats = feats.to(queries.device).T
            for some, best, best_numbers in zip(
                queries.float().split(self.queries),
                scores.split(self.queries),
                numbers.split(self.queries),
                strict=True,
            ):
                found = (some @ feats).topk(min(k, len(places)), dim=1)
                both = best_of(
                    torch.cat([best, found.values.cpu()], dim=1),
                    torch.cat([best_numbers, places[found.indices.cpu()]], dim=1),
                    k,
                )
                best[:], best_numbers[:] = both  # views into the results
        return scores, numbers


def best_of(scores: Tensor, numbers: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` best of each row of candidates, best first; of equal scores the larger number comes first."""
    by_number = numbers.argsort(dim=1, descending=True)
    by_score = scores.gather(1, by_number).argsort(dim=1, descending=True, stable=True)[:, :k]
    order = by_number.gather(1, by_score)
    return scores.gather(1, order), numbers.gather(1, order)


def search_together(
    index: Index, gallery: FeatureStore, queries: FeatureStore, k: int, device: Any = "cpu"
) -> tuple[Tensor, Tensor]:
    """The nearest rows of every query; each process searches its pieces of the gallery, and all get the best of all.

    Args:
        index: Empty, the same in every process.
        gallery: ``C`` rows, the same in every process.
        queries: ``R`` rows, the same in every process.
        k: How many; all if there are fewer.
        device: Where products are computed.

    Returns:
        Cosines ``[R, k]``, best first, and numbers ``[R, k]``; -inf and ``NOWHERE`` where an index found fewer.

    Raises:
        ValueError: If a feature is not a number.
    """
    k, own = min(k, len(gallery)), gallery.share(rank(), world_size())
    index.fill(own)
    scores, numbers = [], []
    for feats in _queries(queries):
        part = index.search(feats.to(device), k) if len(own) else _nothing(len(feats), k)
        everywhere = all_gather_objects(part)
        if torch.isnan(feats).any() or any(torch.isnan(found).any() for found, _ in everywhere):
            raise ValueError(
                "some features are not a number (NaN): the model has diverged, or its weights were not loaded."
            )
        best = best_of(*(torch.cat(both, dim=1) for both in zip(*everywhere, strict=True)), k)
        scores.append(best[0])
        numbers.append(best[1])
    return torch.cat(scores), torch.cat(numbers)


def _queries(rows: FeatureStore) -> Iterator[Tensor]:
    yield from (feats for _, feats in rows.chunks(65536))


def _nothing(count: int, k: int) -> tuple[Tensor, Tensor]:
    return torch.full((count, k), -torch.inf), torch.full((count, k), NOWHERE)
