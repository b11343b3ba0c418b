"""Features that are read in chunks, from main memory or from files; they are never all in memory.

Shape letters: C features, E embed_dim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class FeatureShard:
    """Features that are stored together.

    Attributes:
        source: ``[n, E]`` features, or the ``.npy`` file that holds them.
        indices: ``[c]`` long, ascending: the index of each feature in the whole store.
        source_rows: ``[c]`` long, the row of the source that holds each feature; None for all rows in order.
    """

    source: Tensor | Path
    indices: Tensor
    source_rows: Tensor | None = None

    def read(self, start: int, stop: int) -> Tensor:
        """Features ``start`` to ``stop - 1`` of the shard, ``[stop - start, E]`` float.

        A file is mapped for the time of this call only, so that it does not stay in memory.
        """
        if isinstance(self.source, Tensor):
            features = self.source
        else:
            features = np.load(self.source, mmap_mode="r", allow_pickle=False)
        rows = slice(start, stop) if self.source_rows is None else self.source_rows[start:stop].numpy()
        if isinstance(features, Tensor):
            return features[rows].float()
        return torch.from_numpy(np.array(features[rows], dtype=np.float32))


class FeatureStore:
    """``C`` features of width ``E`` in shards.

    Args:
        shards: The shards, in order.
        width: ``E``.
    """

    def __init__(self, shards: Sequence[FeatureShard], width: int) -> None:
        self.shards, self.width = list(shards), width

    @classmethod
    def from_tensor(cls, feats: Tensor, num_shards: int = 1) -> "FeatureStore":
        """A store of features in main memory, ``[C, E]``, split into ``num_shards``."""
        indices = torch.arange(len(feats))
        shards = zip(feats.tensor_split(num_shards), indices.tensor_split(num_shards), strict=True)
        return cls([FeatureShard(*shard) for shard in shards], feats.shape[1])

    def __len__(self) -> int:
        return sum(len(shard.indices) for shard in self.shards)

    def partition(self, rank: int, world_size: int) -> "FeatureStore":
        """The shards that process ``rank`` of ``world_size`` searches."""
        return FeatureStore(self.shards[rank::world_size], self.width)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Indices ``[n]`` and features ``[n, E]`` of ``size`` features at a time, fewer in the last chunk."""
        indices, feats, count = [], [], 0
        for shard in self.shards:
            start = 0
            while start < len(shard.indices):
                stop = min(len(shard.indices), start + size - count)
                indices.append(shard.indices[start:stop])
                feats.append(shard.read(start, stop))
                count, start = count + stop - start, stop
                if count == size:
                    yield torch.cat(indices), torch.cat(feats)
                    indices, feats, count = [], [], 0
        if count:
            yield torch.cat(indices), torch.cat(feats)

    def read_all(self) -> Tensor:
        """All features in main memory, ``[C, E]``."""
        return torch.cat([feats for _, feats in self.chunks(max(1, len(self)))])
