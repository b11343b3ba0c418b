"""The log says when steps wait for data, for which stream, and what to do."""

from types import SimpleNamespace

import pytest

from tests.engine.failures.test_nan_policy import log_of
from x2vlm.engine import build_runner
from x2vlm.engine.hooks.data_waits import DataWaits

STREAMS = {name: SimpleNamespace(num_workers=workers) for name, workers in (("image", 2), ("text", 0))}


class Clock:
    """A clock that advances only when it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def drawn(waits: DataWaits, clock: Clock, **seconds: float) -> DataWaits:
    for name, spent in seconds.items():
        with waits.waiting_for(name):
            clock.now += spent
    return waits


def test_the_slowest_stream_is_named_with_times_and_workers(clock):
    waits = drawn(DataWaits(lambda: True, clock), clock, image=9.0, text=9.0)  # its workers start: does not count
    for _ in range(10):
        drawn(waits, clock, image=0.06, text=0.02)
    assert waits.report(STREAMS, steps=10, seconds=2.0) == (
        "a step waited 0.08 of 0.2 s for data, 75% of it for stream 'image': raise streams.image.num_workers (now 2), "
        "or make its records cheaper to read."
    )


def test_without_workers_it_says_so(clock):
    waits = drawn(DataWaits(lambda: True, clock), clock, text=1.0)
    sentence = drawn(waits, clock, text=1.0).report(STREAMS, steps=1, seconds=2.0)
    assert "streams.text.num_workers (now 0: batches are prepared between the steps)" in sentence


@pytest.mark.parametrize(("waited", "warned"), [(0.19, False), (0.21, True)])
def test_a_fifth_of_the_time_is_not_worth_a_word(clock, waited, warned):
    waits = drawn(DataWaits(lambda: True, clock), clock, image=1.0)
    drawn(waits, clock, image=waited)
    assert (waits.report(STREAMS, steps=1, seconds=1.0) is not None) == warned


def test_every_report_counts_anew(clock):
    waits = drawn(DataWaits(lambda: True, clock), clock, image=1.0)
    drawn(waits, clock, image=1.0)
    assert waits.report(STREAMS, steps=1, seconds=1.0)
    assert waits.report(STREAMS, steps=1, seconds=1.0) is None


def test_who_waits_while_the_device_computes_loses_nothing(clock):
    waits = drawn(DataWaits(lambda: False, clock), clock, image=1.0)
    drawn(waits, clock, image=1.0)
    assert waits.report(STREAMS, steps=1, seconds=1.0) is None


def test_before_the_first_batch_there_is_nothing_to_tell(clock):
    assert DataWaits(lambda: True, clock).report(STREAMS, steps=0, seconds=0.0) is None


@pytest.mark.parametrize(("slow", "lines"), [(True, 2), (False, 0)])
def test_a_run_over_slow_data_says_so_once_for_each_line_of_the_log(config, monkeypatch, clock, slow, lines):
    """Every look at the clock of the loop takes a second or none; that of the hooks stands for 0.1 s a step."""
    runner = build_runner(config(4))
    loop = runner.train_loop
    loop.data_waits = DataWaits(loop.guard.is_device_idle, clock)
    draw = next(iter(loop.streams.values())).__class__.__next__

    def slowly(stream):
        clock.now += slow * (5.0 if stream.name == "text" else 1.0)
        return draw(stream)

    monkeypatch.setattr("x2vlm.data.streams.Stream.__next__", slowly)
    runner.train()
    assert log_of(runner).count("raise streams.text.num_workers (now 0") == lines
    assert log_of(runner).count("s for data, 83% of it") == lines
