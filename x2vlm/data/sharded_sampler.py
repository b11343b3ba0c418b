"""Sampling of records that lie together in files: read in runs, mixed in a buffer, resumed at any draw."""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

from x2vlm.data.sampler import StreamSampler, derive_seed, shuffled

_EPOCHS = 3  # whose orders are kept: shards are not all in the same one where a pass of one begins


class RunOrder(NamedTuple):
    """The order of the runs in an epoch.

    Attributes:
        starts: ``[runs]`` int64: the index of the first record of each, in the order in which they are read.
        ends: ``[runs]`` int64: how many records are read up to its end.
    """

    starts: np.ndarray
    ends: np.ndarray


class ShardedSampler(StreamSampler):
    """Endless ``(index, draw)`` for files of which neighbouring records are read together.

    Every epoch puts the runs (groups of rows) into another order and cuts that into a shard for each worker of each
    process, of equal lengths to a record; a run on a cut is read by two. A shard takes its records a buffer at a time,
    mixed within it. So each record is taken once an epoch, a run is read by one worker, and memory holds a buffer and
    not the files.

    As with every sampler here nothing has to be saved: what draw ``n`` reads follows from seed, stream, ``n``, and the
    numbers of processes, workers and records in a batch. Where one of these has changed, a resumed stream goes on at as
    many draws in shards that are cut otherwise.

    Args:
        run_lengths: ``[runs]``: records of each run, in the order of the data set.
        buffer: Records that are mixed.
        batch_size: Records in a batch of a process.
        num_workers: Workers of a process; 0 counts as one. Worker ``k`` of ``n`` makes batches ``k, k + n, ...``.
        seed: Seed of the run.
        stream: Name of the stream.
        start: Draws done already, over all processes; any number costs the same.
        rank: Rank of this process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        run_lengths: np.ndarray,
        buffer: int,
        batch_size: int,
        num_workers: int,
        seed: int,
        stream: str,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(int(np.sum(run_lengths)), seed, stream, start, rank=rank, world_size=world_size)
        self.run_lengths, self.buffer, self.batch_size = np.asarray(run_lengths, dtype=np.int64), buffer, batch_size
        self.shards = min(world_size * max(num_workers, 1), self.size)
        self._starts = np.cumsum(self.run_lengths) - self.run_lengths
        self._orders: OrderedDict[int, RunOrder] = OrderedDict()

    def index(self, draw: int) -> int:
        """The index of the record of a draw."""
        batch, slot = self._batch_and_slot(draw)
        turn, shard = divmod(batch, self.shards)
        first, stop = (self.size * cut // self.shards for cut in (shard, shard + 1))
        epoch, position = divmod(turn * self.batch_size + slot, stop - first)
        block, place = divmod(position, self.buffer)
        begin = first + block * self.buffer
        key = derive_seed(self.seed, self.stream, "buffer", epoch, shard, block)
        return self._record(epoch, begin + shuffled(place, min(self.buffer, stop - begin), key))

    def _batch_and_slot(self, draw: int) -> tuple[int, int]:
        """The number of the batch over all processes, and the place in it."""
        step, place = divmod(draw, self.batch_size * self.world_size)
        slot, rank = divmod(place, self.world_size)
        return step * self.world_size + rank, slot

    def _record(self, epoch: int, place: int) -> int:
        """The index of the record at a place of the order of an epoch."""
        order = self._order(epoch)
        run = int(np.searchsorted(order.ends, place, side="right"))
        return int(order.starts[run] + place - (order.ends[run - 1] if run else 0))

    def _order(self, epoch: int) -> RunOrder:
        if epoch not in self._orders:
            generator = np.random.default_rng(derive_seed(self.seed, self.stream, "runs", epoch))
            runs = generator.permutation(len(self.run_lengths))
            self._orders[epoch] = RunOrder(self._starts[runs], np.cumsum(self.run_lengths[runs]))
            if len(self._orders) > _EPOCHS:
                self._orders.popitem(last=False)
        return self._orders[epoch]
