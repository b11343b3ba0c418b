"""Features that are read a chunk at a time, from main memory or from files; nobody holds them all.

Shape letters: C rows, E embed_dim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class FeatureShard:
    """FeatureStore that lie together.

    Attributes:
        source: ``[n, E]`` features, or the ``.npy`` file of them.
        numbers: ``[c]`` long, what the rows are called, rising.
        keep: ``[c]`` long, which rows of the source these are; None for all of them.
    """

    source: Tensor | Path
    numbers: Tensor
    keep: Tensor | None = None

    def read(self, first: int, last: int) -> Tensor:
        """``[last - first, E]`` float. A file is mapped for as long as this takes, so it fills nobody's memory."""
        if isinstance(self.source, Tensor):
            whole = self.source
        else:
            whole = np.load(self.source, mmap_mode="r", allow_pickle=False)
        chosen = slice(first, last) if self.keep is None else self.keep[first:last].numpy()
        if isinstance(whole, Tensor):
            return whole[chosen].float()
        return torch.from_numpy(np.array(whole[chosen], dtype=np.float32))


class FeatureStore:
    """``C`` features of width ``E`` in pieces.

    Args:
        pieces: The pieces, in order.
        width: ``E``.
    """

    def __init__(self, pieces: Sequence[FeatureShard], width: int) -> None:
        self.pieces, self.width = list(pieces), width

    @classmethod
    def of(cls, feats: Tensor, pieces: int = 1) -> "FeatureStore":
        """Features that are in main memory, ``[C, E]``, cut into so many pieces."""
        numbers = torch.arange(len(feats))
        cut = zip(feats.tensor_split(pieces), numbers.tensor_split(pieces), strict=True)
        return cls([FeatureShard(some, which) for some, which in cut], feats.shape[1])

    def __len__(self) -> int:
        return sum(len(piece.numbers) for piece in self.pieces)

    def share(self, number: int, of: int) -> "FeatureStore":
        """The pieces that process ``number`` of ``of`` cares for."""
        return FeatureStore(self.pieces[number::of], self.width)

    def chunks(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Numbers ``[n]`` and features ``[n, E]`` of ``size`` rows at a time, fewer in the last chunk."""
        numbers, feats, count = [], [], 0
        for piece in self.pieces:
            first = 0
            while first < len(piece.numbers):
                last = min(len(piece.numbers), first + size - count)
                numbers.append(piece.numbers[first:last])
                feats.append(piece.read(first, last))
                count, first = count + last - first, last
                if count == size:
                    yield torch.cat(numbers), torch.cat(feats)
                    numbers, feats, count = [], [], 0
        if count:
            yield torch.cat(numbers), torch.cat(feats)
