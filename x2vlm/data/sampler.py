"""Counter-based sampling: resuming at any draw of an endless stream costs nothing.

Nothing here has a state to save: the record of draw ``n``, and every random number used to make its sample, follow from
(seed, stream, draw).
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import Sampler

_ROUNDS = 8  # of the shuffle's mixing network; with 4 the tiny data sets of tests come out visibly uneven


def derive_seed(*keys: int | str) -> int:
    """A seed in ``0 .. 2**63 - 1`` that follows from all keys, e.g. ``derive_seed(seed, "image", draw)``."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's (CPU) global generators start from ``seed`` inside, and get their states back."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def shuffled(position: int, size: int, key: int) -> int:
    """The entry at ``position`` of a random permutation of ``range(size)``, without storing the permutation.

    A Feistel network permutes the next power of four; results outside the range are permuted again until they fall
    inside (at most four times on average), which keeps it one to one.

    Args:
        position: In ``0 .. size - 1``.
        size: Length of the permutation.
        key: Which permutation.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    while True:
        left, right = position >> half, position & low
        for round_ in range(_ROUNDS):
            left, right = right, left ^ (_mix(right + (round_ << 32) + key) & low)
        position = (left << half) | right
        if position < size:
            return position


class StreamSampler(Sampler[tuple[int, int]]):
    """Endless ``(index, draw)``: the record to read, and the number of the draw, over all processes.

    Every epoch takes each record once, in another order. Processes take turns: process ``r`` of
    ``W`` has draws ``r, r + W, ...``, so ``W`` processes with a batch of ``B`` read in each step what one process with
    ``W * B`` would.

    Args:
        size: Number of records.
        seed: Seed of the run.
        stream: Name of the stream, so that two streams over the same data are in different orders.
        start: Draws done already, over all processes; any number costs the same.
        shuffle: False takes the records in order.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        size: int,
        seed: int,
        stream: str,
        start: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.size, self.seed, self.stream, self.shuffle = size, seed, stream, shuffle
        self.start, self.rank, self.world_size = start, rank, world_size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        draw = self.start + self.rank
        while True:
            yield self.index(draw), draw
            draw += self.world_size

    def index(self, draw: int) -> int:
        """The index of the record of a draw."""
        epoch, position = divmod(draw, self.size)
        if not self.shuffle:
            return position
        return shuffled(position, self.size, derive_seed(self.seed, self.stream, "pass", epoch))


def _mix(number: int) -> int:
    """Scatter the bits of a number over 64 bits (the finaliser of SplitMix64)."""
    number = (number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return number ^ (number >> 31)
