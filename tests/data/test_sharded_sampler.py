"""Streams of files that are read in runs: each record once an epoch, each run by one worker, any draw at once."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.tiny_parts import TinyCollate
from x2vlm.data.batch import Sample
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.concat import Concat
from x2vlm.data.record import RecordError
from x2vlm.data.sharded_sampler import ShardedSampler
from x2vlm.data.streams import Stream

RUNS = (4, 1, 7, 3, 5)


def sampler(runs=RUNS, buffer=6, batch_size=2, num_workers=2, **place):
    return ShardedSampler(np.array(runs), buffer, batch_size, num_workers, seed=3, stream="s", **place)


def drawn(one, count):
    positions = iter(one)
    return [next(positions) for _ in range(count)]


def shards_of(one, count):
    """The indices that each shard reads, from so many batches of all processes."""
    read = {shard: [] for shard in range(one.shards)}
    for batch in range(count):
        step, rank = divmod(batch, one.world_size)
        for slot in range(one.batch_size):
            draw = step * one.batch_size * one.world_size + slot * one.world_size + rank
            read[batch % one.shards].append(one.index(draw))
    return read


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    buffer=st.integers(2, 20),
    batch_size=st.integers(1, 4),
    num_workers=st.integers(0, 3),
    world_size=st.integers(1, 3),
)
def test_all_shards_together_take_each_record_once_an_epoch(runs, buffer, batch_size, num_workers, world_size):
    one = sampler(runs, buffer, batch_size, num_workers, world_size=world_size)
    cuts = [one.size * cut // one.shards for cut in range(one.shards + 1)]
    lengths = [stop - first for first, stop in pairwise(cuts)]
    read = shards_of(one, one.shards * (2 * max(lengths) // batch_size + 1))
    for epoch in range(2):
        parts = [read[shard][epoch * length : (epoch + 1) * length] for shard, length in enumerate(lengths)]
        assert sorted(index for part in parts for index in part) == list(range(one.size))


def test_a_run_is_read_by_one_worker_unless_a_cut_goes_through_it():
    one = sampler(runs=[10] * 40, buffer=30, batch_size=4, num_workers=2, world_size=2)
    runs_of = [{index // 10 for index in indices} for indices in shards_of(one, 4 * 25).values()]
    assert [len(runs) for runs in runs_of] == [10] * 4
    assert len(set.union(*runs_of)) == 40


def test_a_batch_comes_from_few_runs_and_still_mixes_several():
    one = sampler(runs=[10] * 40, buffer=30, batch_size=15, num_workers=0)
    runs = [{index // 10 for index, _ in drawn(sampler([10] * 40, 30, 15, 0, start=15 * n), 15)} for n in range(20)]
    assert all(2 <= len(one_batch) <= 4 for one_batch in runs)
    assert [one.index(n) for n in range(30)] != sorted(one.index(n) for n in range(30))


def test_epochs_and_streams_differ_and_a_seed_repeats_them():
    indices = [index for index, _ in drawn(sampler(num_workers=0), 40)]
    assert indices[:20] != indices[20:]
    assert indices == [index for index, _ in drawn(sampler(num_workers=0), 40)]
    other = ShardedSampler(np.array(RUNS), 6, 2, 0, seed=3, stream="other")
    assert indices != [index for index, _ in drawn(other, 40)]


@given(batches=st.integers(0, 10**9), rank=st.integers(0, 1))
def test_it_starts_at_any_batch_at_once_as_if_it_had_come_there(batches, rank):
    later = drawn(sampler(start=4 * batches + 4, rank=rank, world_size=2), 4)
    assert later == drawn(sampler(start=4 * batches, rank=rank, world_size=2), 6)[2:]


class Rows(Adapter):
    """Numbered rows in runs; a sample says which worker read it."""

    def __init__(self, runs=RUNS, bad=()):
        super().__init__()
        self.run_lengths, self.shuffle_buffer, self.bad = np.array(runs), 6, bad

    def __len__(self):
        return int(self.run_lengths.sum())

    def record(self, index):
        if index in self.bad:
            raise RecordError(f"rows[{index}]", "it is broken")
        return {"where": f"rows[{index}]", "id": str(index), "text": "a", "extras": {}}

    def __getitem__(self, index):
        self.record(index)
        info = torch.utils.data.get_worker_info()
        where = f"{0 if info is None else info.id}:{index}"
        return Sample(where=where, texts=[str(index)], ids=[str(index)], has_box=[False])


def read(stream, count):
    stream.start(5)
    return [next(stream).where for _ in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_of_runs_resumes_where_it_was_and_gives_each_worker_its_own_runs(workers):
    stream = Stream("rows", Rows([10] * 8), TinyCollate(), 4, num_workers=workers)
    batches = read(stream, 20)
    rows = [place.split(":") for batch in batches for place in batch]
    assert sorted(int(row) for _, row in rows) == list(range(80))
    owners = {run: {worker for worker, row in rows if int(row) // 10 == run} for run in range(8)}
    assert all(len(workers) == 1 for workers in owners.values())
    resumed = Stream("rows", Rows([10] * 8), TinyCollate(), 4, num_workers=workers)
    resumed.draws = 4 * 7
    without_worker = [[place.partition(":")[2] for place in batch] for batch in (*batches[7:12], *read(resumed, 5))]
    assert without_worker[:5] == without_worker[5:]


def test_another_row_takes_the_place_of_a_bad_one():
    stream = Stream("rows", Rows(bad=range(4)), TinyCollate(), 4)
    stream.start(5)
    batches = [next(stream) for _ in range(5)]
    assert {bad.where for batch in batches for bad in batch.bad} >= {f"rows[{n}]" for n in range(4)}
    assert all(len(batch.where) == 4 for batch in batches)


def test_a_stream_that_is_not_shuffled_reads_the_rows_in_order():
    batches = read(Stream("rows", Rows(), TinyCollate(), 4, shuffle=False), 5)
    assert [int(place.partition(":")[2]) for batch in batches for place in batch] == list(range(20))


def test_joined_data_sets_are_read_in_runs_where_one_of_them_is():
    class Single(Rows):
        def __init__(self):
            super().__init__((3,))
            self.run_lengths, self.shuffle_buffer = None, None

        def __len__(self):
            return 3

    joined = Concat([Rows(), Single()], times=(2, 1))
    assert joined.shuffle_buffer == 6
    assert joined.run_lengths.tolist() == [*RUNS, *RUNS, 1, 1, 1]
    assert Concat([Single()]).shuffle_buffer is None
