"""What attention has read before: keys and values of earlier tokens, for texts that grow token by token.

Where every token looks only at itself and before, what an earlier token became does not change any more: only new
tokens go through the layers. Attention asks ``remembered`` for what it has read before; outside ``Memory.used`` that is
nothing.

Shape letters: R texts, H heads, T tokens, d width of a head.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

KeyValue = tuple[Tensor, Tensor]


class Memory:
    """Keys and values, ``[R, H, T, d]`` each, by the attention that made them.

    Attributes:
        kept: By attention.
        length: The ``T`` tokens that are kept.
    """

    def __init__(self) -> None:
        self.kept: dict[Any, KeyValue] = {}
        self.length = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """Within, attention reads on where it stopped."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def extend(self, owner: Any, new: KeyValue) -> KeyValue:
        """Keys and values of before and now."""
        before = self.kept.get(owner)
        if before is not None:
            new = tuple(torch.cat(pair, dim=2) for pair in zip(before, new, strict=True))
        self.kept[owner] = new
        return new

    def keep(self, length: int) -> None:
        """Forget all tokens after the first ``length``."""
        self.kept = {owner: (key[:, :, :length], value[:, :, :length]) for owner, (key, value) in self.kept.items()}
        self.length = length

    def select(self, rows: Tensor) -> None:
        """Go on with these texts: ``[R]`` long."""
        self.kept = {owner: (key[rows], value[rows]) for owner, (key, value) in self.kept.items()}


_CURRENT: ContextVar[Memory | None] = ContextVar("memory", default=None)


def remembered(owner: Any, new: KeyValue) -> KeyValue:
    """Keys and values of the tokens that ``owner`` reads now, behind those it has read before where a memory is used.

    Args:
        owner: The attention.
        new: ``[R, H, T, d]`` twice, of the tokens it reads now.
    """
    memory = _CURRENT.get()
    return new if memory is None else memory.extend(owner, new)


def is_remembering() -> bool:
    """Whether a memory is used here."""
    return _CURRENT.get() is not None
