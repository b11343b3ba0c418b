"""Streams: any place at once, the same whatever the workers; bad records counted, named, and never in the way."""

import random

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.data.sampler import StreamSampler, derive_seed, seeded, shuffled


def first(sampler: StreamSampler, count: int) -> list[tuple[int, int]]:
    positions = iter(sampler)
    return [next(positions) for _ in range(count)]


@given(size=st.integers(1, 300), key=st.integers(0, 2**63 - 1))
def test_an_order_holds_each_record_once(size, key):
    assert sorted(shuffled(position, size, key) for position in range(size)) == list(range(size))


def test_every_record_comes_first_about_as_often_as_any_other():
    counts = np.bincount([shuffled(0, 5, derive_seed("order", n)) for n in range(2000)], minlength=5)
    assert np.all(abs(counts - 400) < 100)  # five standard deviations


def test_a_pass_holds_each_record_once_and_the_next_pass_in_another_order():
    indices = [index for index, _ in first(StreamSampler(20, seed=0, stream="image"), 40)]
    assert sorted(indices[:20]) == sorted(indices[20:]) == list(range(20))
    assert indices[:20] != indices[20:]


def test_two_streams_over_the_same_data_are_in_different_orders():
    image, region = (first(StreamSampler(20, seed=0, stream=name), 20) for name in ("image", "region"))
    assert image != region


@given(start=st.integers(0, 10**12))
def test_a_stream_can_start_anywhere_at_once(start):
    assert first(StreamSampler(7, 1, "s", start=start + 1), 3) == first(StreamSampler(7, 1, "s", start=start), 4)[1:]


def test_processes_take_turns():
    parts = [first(StreamSampler(9, 0, "s", rank=rank, world_size=3), 4) for rank in range(3)]
    together = [draw for turn in zip(*parts, strict=True) for draw in turn]
    assert together == first(StreamSampler(9, 0, "s"), 12)


def test_an_unshuffled_stream_reads_the_records_as_they_stand():
    assert first(StreamSampler(3, 0, "s", shuffle=False), 5) == [(0, 0), (1, 1), (2, 2), (0, 3), (1, 4)]


def test_seeding_is_exact_inside_and_leaves_no_trace_outside(seed):
    def draw():
        return random.random(), np.random.rand(), torch.rand(()).item()

    untouched = draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    with seeded(5):
        inside = draw()
    assert draw() == untouched
    with seeded(5):
        assert draw() == inside
