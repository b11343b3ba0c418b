"""The cache of keys and values of earlier tokens, for texts that are generated token by token.

With causal attention the states of earlier tokens do not change: only new tokens go through the layers. The cache is
passed from the reader to the attention that extends it.

Shape letters: R texts, H heads, T tokens, d width of a head.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from x2vlm.models.layers.attention import KeyValue


class KVCache:
    """Keys and values, ``[R, H, T, d]`` each, by the attention (a module) that made them.

    Attributes:
        kept: By attention.
        length: The ``T`` tokens that are kept.
    """

    def __init__(self) -> None:
        self.kept: dict[Any, KeyValue] = {}
        self.length = 0

    def extend(self, attention: Any, new: KeyValue) -> KeyValue:
        """Append new keys and values of an attention, and return all."""
        before = self.kept.get(attention)
        if before is not None:
            new = tuple(torch.cat(pair, dim=2) for pair in zip(before, new, strict=True))
        self.kept[attention] = new
        return new

    def keep(self, length: int) -> None:
        """Keep only the first ``length`` tokens."""
        self._change(lambda x: x if x.shape[2] == length else x[:, :, :length])
        self.length = length

    def select(self, rows: Tensor) -> None:
        """Keep these texts: ``[R]`` long."""
        self._change(lambda x: x.index_select(0, rows))

    def of(self, rows: slice) -> "KVCache":
        """A cache of some of the texts."""
        cache = KVCache()
        cache.kept = {attention: (key[rows], value[rows]) for attention, (key, value) in self.kept.items()}
        cache.length = self.length
        return cache

    def _change(self, change: Callable[[Tensor], Tensor]) -> None:
        self.kept = {attention: (change(key), change(value)) for attention, (key, value) in self.kept.items()}
