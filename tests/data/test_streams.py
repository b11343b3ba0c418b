"""Streams: any place at once, the same whatever the workers; bad records counted, named, and never in the way."""

import json
import multiprocessing
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from tests.engine.tiny_parts import TinyCollate, TinyTexts
from x2vlm.building import ConfigError
from x2vlm.data import streams as streams_module
from x2vlm.data.bad_records import BadRecordLog, TooManyBadRecordsError
from x2vlm.data.batch import BadRecord, Batch
from x2vlm.data.loader import SeededDataset, make_loader
from x2vlm.data.sampler import StreamSampler, derive_seed, seeded, shuffled
from x2vlm.data.streams import EvaluationLoader, Stream, build_evaluation_loader, build_streams

ROOT = Path(__file__).resolve().parents[2]


def tiny_stream(batch_size=2, bad=(), size=10, **changes) -> Stream:
    return Stream("tiny", TinyTexts(size, bad), TinyCollate(), batch_size, **changes)


def take(stream: Stream, count: int, seed: int = 3) -> list[Batch]:
    stream.start(seed)
    return [next(stream) for _ in range(count)]


def first(sampler: StreamSampler, count: int) -> list[tuple[int, int]]:
    places = iter(sampler)
    return [next(places) for _ in range(count)]


def test_a_stream_names_its_objectives_or_gives_each_a_factor():
    assert tiny_stream(objectives=["itc", "mlm"]).objectives == ("itc", "mlm")
    assert tiny_stream(objectives={"itc": 0.5, "bbox": 1.0}).objectives == {"itc": 0.5, "bbox": 1.0}
    assert tiny_stream().objectives is None


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
    together = [place for turn in zip(*parts, strict=True) for place in turn]
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


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_depend_on_the_place_alone(workers):
    expected = take(tiny_stream(), 6)
    random.seed(99), torch.manual_seed(99)
    stream = tiny_stream(num_workers=workers)
    stream.draws = 4
    for ours, theirs in zip(take(stream, 4), expected[2:], strict=True):
        assert torch.equal(ours.text_ids, theirs.text_ids)
        assert ours.where == theirs.where


def test_opening_a_stream_leaves_the_global_generator_alone(seed):
    before = torch.get_rng_state()
    take(tiny_stream(), 2)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_region_stream_reads_max_images_records_and_keeps_batch_size_pairs():
    cfg = dict(dataset=dict(type="TinyTexts", texts=3), collate=dict(type="TinyCollate"), batch_size=4, max_images=2)
    stream = build_streams(dict(region=cfg))["region"]
    batch = take(stream, 1)[0]
    assert (batch.drawn, len(batch), stream.draws) == (2, 4, 2)


def test_another_record_takes_the_place_of_a_bad_one_always_the_same():
    dataset = SeededDataset(TinyTexts(10, bad=[4, 5]), "s", seed=0)
    drawn = dataset[4, 17]
    assert drawn.bad[0] == BadRecord("tiny.jsonl:4", "it is broken")
    assert drawn.sample.where not in ("tiny.jsonl:4", "tiny.jsonl:5")
    assert dataset[4, 17] == drawn
    assert len({dataset[4, draw].sample.where for draw in range(20)}) > 3  # not the neighbour each time


def test_a_batch_tells_of_the_bad_records_on_its_way():
    batches = take(tiny_stream(bad=[0, 1, 2]), 5)  # one pass: each record is drawn once
    met = {record.where for batch in batches for record in batch.bad}
    assert met == {"tiny.jsonl:0", "tiny.jsonl:1", "tiny.jsonl:2"}
    assert sum(batch.drawn for batch in batches) == 10 + sum(len(batch.bad) for batch in batches)
    assert all(len(batch) == 2 for batch in batches)


def test_a_stream_without_one_good_record_is_given_up_with_a_list():
    with pytest.raises(TooManyBadRecordsError, match=r"stream 'tiny'.*not one pair(.|\n)*tiny.jsonl:\d: it is broken"):
        take(tiny_stream(bad=range(10)), 1)


def test_a_batch_without_pairs_is_passed_over_but_counted():
    class Sparse(TinyTexts):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            sample.texts = sample.texts if index == 3 else []
            return sample

    stream = Stream("tiny", Sparse(4), TinyCollate(), batch_size=1, shuffle=False)
    batches = take(stream, 2)
    assert [batch.where for batch in batches] == [["tiny.jsonl:3"]] * 2
    assert [batch.drawn for batch in batches] == [4, 4]
    assert stream.draws == 8


def test_bad_records_are_written_once_each(tmp_path):
    ledger = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1.0)
    batch = Batch(
        torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("a:1", "torn"), BadRecord("a:2", "empty")], drawn=4
    )
    ledger.note("image", batch)
    ledger.note("image", batch)
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert lines == [
        {"stream": "image", "where": "a:1", "reason": "torn"},
        {"stream": "image", "where": "a:2", "reason": "empty"},
    ]
    assert (ledger.tallies["image"].bad, ledger.tallies["image"].drawn) == (4, 8)


def test_a_few_bad_records_do_not_stop_anything_and_many_do(tmp_path):
    ledger = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=0.1, min_records=20)
    good = Batch(torch.zeros(1, 1), torch.ones(1, 1), drawn=10)
    torn = Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("a:7", "torn")] * 2, drawn=2)
    ledger.note("image", torn)  # 2 of 2, but far too early to say
    ledger.note("image", good)
    ledger.note("image", good)  # 2 of 22
    with pytest.raises(TooManyBadRecordsError, match=r"stream 'image': 4 of the 24 .*max_fraction=0.1(.|\n)*a:7: torn"):
        ledger.note("image", torn)


def test_the_share_is_judged_per_stream():
    ledger = BadRecordLog(max_fraction=0.1, min_records=2)
    ledger.note("image", Batch(torch.zeros(1, 1), torch.ones(1, 1), drawn=1000))
    with pytest.raises(TooManyBadRecordsError, match="stream 'video'"):
        ledger.note("video", Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("v", "torn")], drawn=2))


def test_the_log_names_few_bad_records_one_by_one(monkeypatch):
    said = []
    monkeypatch.setattr("x2vlm.data.bad_records.print_log", lambda text, **_: said.append(text))
    ledger = BadRecordLog(max_fraction=1.0)
    bad = [BadRecord(f"a:{n}", "torn") for n in range(100)]
    ledger.note("image", Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=bad, drawn=100))
    assert len(said) == 5 + 4  # the first five, then 8, 16, 32, 64
    assert "stream 'image': bad record 64: a:63: torn" in said[-1]


def test_a_ledger_goes_on_where_it_was(tmp_path):
    batch = Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("a:1", "torn")], drawn=4)
    before = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1.0)
    before.note("image", batch)
    after = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1.0)
    after.load_state_dict(before.state_dict())
    after.note("image", batch)
    assert after.tallies["image"].drawn == 8
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_reads_every_record_once_in_order_and_counts_bad_ones(workers):
    loader = EvaluationLoader("held_out", TinyTexts(7, bad=[2, 3]), TinyCollate(), 2, num_workers=workers)
    for _ in range(2):  # and again
        assert [where for batch in loader for where in batch.where] == [f"tiny.jsonl:{n}" for n in (0, 1, 4, 5, 6)]
    assert loader.ledger.tallies["held_out"].named.keys() == {"tiny.jsonl:2", "tiny.jsonl:3"}
    assert len(loader) == 4


def test_an_evaluation_is_shared_by_the_processes(monkeypatch):
    seen = []
    for rank in range(3):
        monkeypatch.setattr(streams_module, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(streams_module, "world_size", lambda: 3)
        loader = EvaluationLoader("held_out", TinyTexts(4), TinyCollate(), 2)
        seen.append([where for batch in loader for where in batch.where])
    assert seen == [["tiny.jsonl:0", "tiny.jsonl:3"], ["tiny.jsonl:1"], ["tiny.jsonl:2"]]


def test_nothing_of_a_stream_of_weight_0_is_built():
    cfg = dict(dataset=dict(type="TinyTexts"), collate=dict(type="TinyCollate"), batch_size=2)
    off = dict(dataset=dict(type="NoSuchThing"), batch_size=2, weight=0.0)
    assert list(build_streams(dict(image=cfg, region=off))) == ["image"]
    with pytest.raises(ConfigError, match="streams: there is nothing to train on"):
        build_streams(dict(region=off))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(batchsize=2), r"streams\.image: Stream has no argument 'batchsize'\. Did you mean 'batch_size'"),
        (dict(batch_size=0), r"streams\.image: batch_size is 0; expected 1 or more"),
        (dict(weight=-1.0), r"streams\.image: weight is -1.0; expected 0 or more"),
        (dict(dataset=dict(type="TinyText")), r"streams\.image\.dataset: 'TinyText' is not .*Did you mean 'TinyTexts'"),
        (
            dict(dataset=dict(type="TinyTexts", size=0)),
            r"streams\.image: the data set of stream 'image' has no records",
        ),
    ],
)
def test_a_mistake_in_a_stream_is_told_with_its_place(change, message):
    cfg = dict(dataset=dict(type="TinyTexts"), collate=dict(type="TinyCollate"), batch_size=2)
    with pytest.raises(ConfigError, match=message):
        build_streams(dict(image=cfg | change))


def test_a_mistake_in_an_evaluation_is_told_with_its_place():
    cfg = dict(dataset=dict(type="TinyTexts"), collate=dict(type="TinyCollate"), batch_size=2, wieght=1)
    with pytest.raises(ConfigError, match=r"evaluations\.held_out: .*'wieght'"):
        build_evaluation_loader("held_out", cfg)


class Threads(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return cv2.getNumThreads(), torch.get_num_threads()


def test_workers_take_one_core_each():
    loader = make_loader(Threads(), list, batch_size=1, sampler=range(2), num_workers=2)
    assert list(loader) == [[(1, 1)], [(1, 1)]]


AFTER_OPENCV = """
import cv2, numpy, time
from tests.data.test_streams import Threads, make_loader
cv2.setNumThreads(2)
cv2.GaussianBlur(numpy.zeros((2000, 2000, 3), numpy.uint8), (31, 31), 5)
time.sleep(0.5)  # its threads wait for more by now
print(list(make_loader(Threads(), list, batch_size=1, sampler=range(2), num_workers=1)))
"""


def test_workers_start_where_opencv_has_had_threads_before():
    done = subprocess.run([sys.executable, "-c", AFTER_OPENCV], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.split() == ["[[(1,", "1)],", "[(1,", "1)]]"], done.stderr


class Waiting(TinyTexts):
    """Texts that nobody gets before they are let go; counts those that were asked for."""

    def __init__(self, size):
        super().__init__(size)
        self.let_go, self.asked = multiprocessing.Event(), multiprocessing.Value("i", 0)

    def __getitem__(self, index):
        with self.asked.get_lock():
            self.asked.value += 1
        assert self.let_go.wait(60)
        return super().__getitem__(index)


def test_a_slow_stream_holds_up_no_other_and_both_are_read_ahead_of_the_model():
    texts, ready = Waiting(10), Waiting(10)
    slow = Stream("slow", texts, TinyCollate(), 2, num_workers=2)
    quick = Stream("quick", ready, TinyCollate(), 1, num_workers=2)
    ready.let_go.set()
    for stream in (slow, quick):
        stream.start(seed=0)
    for _ in range(3):
        next(quick)  # while no record of the other comes
    texts.let_go.set()
    next(slow)
    end = time.monotonic() + 60
    while texts.asked.value < 4 or ready.asked.value < 4:  # more than the batches that were taken
        assert time.monotonic() < end, "nothing is read ahead"
        time.sleep(0.01)
    for stream in (slow, quick):
        stream.stop()


class Processes(TinyTexts):
    """The process that reads a record is its place."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample.where = str(os.getpid())
        return sample


@pytest.mark.parametrize("kept", [True, False])
def test_the_workers_of_an_evaluation_are_kept_if_asked_to(kept):
    loader = EvaluationLoader(
        "held_out", Processes(4), TinyCollate(), 2, num_workers=1, persistent_workers=kept, seed=5
    )
    first, second = ([batch.where[0] for batch in loader] for _ in range(2))
    assert len({*first, *second}) == (1 if kept else 2)
    assert str(os.getpid()) not in first


class Counted(TinyTexts):
    """Counts in shared memory how many records were read."""

    def __init__(self, size):
        super().__init__(size)
        self.read = multiprocessing.get_context("fork").Value("i", 0)

    def __getitem__(self, index):
        with self.read.get_lock():
            self.read.value += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("factor", [1, 5])
def test_a_worker_has_as_many_batches_ready_as_it_is_told(factor):
    dataset = Counted(100)
    stream = Stream("tiny", dataset, TinyCollate(), 2, num_workers=1, prefetch_factor=factor)
    stream.start(0)
    next(stream)  # what is taken is replaced: one batch taken, and `factor` more
    deadline = time.monotonic() + 30
    while dataset.read.value < 2 * (1 + factor) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert dataset.read.value == 2 * (1 + factor)
    stream.stop()


def test_a_stream_is_the_same_whatever_is_ready():
    batches = [take(tiny_stream(num_workers=2, prefetch_factor=factor), 6) for factor in (1, 4)]
    assert all(torch.equal(one.text_ids, other.text_ids) for one, other in zip(*batches, strict=True))


def test_no_batch_ready_is_refused():
    with pytest.raises(ValueError, match=r"prefetch_factor is 0; expected 1 or more"):
        tiny_stream(prefetch_factor=0)
