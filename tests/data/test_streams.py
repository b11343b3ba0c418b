"""Streams: any place at once, the same whatever the workers; bad records counted, named, and never in the way."""

import multiprocessing
import random
import time

import pytest
import torch

from tests.engine.tiny_parts import TinyCollate, TinyTexts
from x2vlm.building import ConfigError
from x2vlm.data.bad_record_log import TooManyBadRecordsError
from x2vlm.data.batch import BadRecord, Batch
from x2vlm.data.replace_bad_records import SeededDataset
from x2vlm.data.streams import Stream, build_evaluation_loader, build_streams


def tiny_stream(batch_size=2, bad=(), size=10, **changes) -> Stream:
    return Stream("tiny", TinyTexts(size, bad), TinyCollate(), batch_size, **changes)


def take(stream: Stream, count: int, seed: int = 3) -> list[Batch]:
    stream.start(seed)
    return [next(stream) for _ in range(count)]


def test_a_stream_names_its_objectives_or_gives_each_a_factor():
    assert tiny_stream(objectives=["itc", "mlm"]).objectives == ("itc", "mlm")
    assert tiny_stream(objectives={"itc": 0.5, "bbox": 1.0}).objectives == {"itc": 0.5, "bbox": 1.0}
    assert tiny_stream().objectives is None


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


def test_a_batch_has_the_bad_records_that_were_met_for_it():
    batches = take(tiny_stream(bad=[0, 1, 2]), 5)  # one pass: each record is drawn once
    met = {record.where for batch in batches for record in batch.bad}
    assert met == {"tiny.jsonl:0", "tiny.jsonl:1", "tiny.jsonl:2"}
    assert sum(batch.drawn for batch in batches) == 10 + sum(len(batch.bad) for batch in batches)
    assert all(len(batch) == 2 for batch in batches)


def test_a_stream_without_one_good_record_is_given_up_with_a_list():
    with pytest.raises(TooManyBadRecordsError, match=r"stream 'tiny'.*no pair(.|\n)*tiny.jsonl:\d: it is broken"):
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
        (dict(weight=float("nan")), r"streams\.image: weight is nan; expected 0 or more"),
        (dict(num_workers=-1), r"streams\.image: num_workers is -1; expected 0 or more"),
        (dict(weight=-1.0), r"streams\.image: weight is -1.0; expected 0 or more"),
        (dict(dataset=dict(type="TinyText")), r"streams\.image\.dataset: 'TinyText' is not .*Did you mean 'TinyTexts'"),
        (
            dict(dataset=dict(type="TinyTexts", size=0)),
            r"streams\.image: the data set of stream 'image' has no records",
        ),
    ],
)
def test_a_mistake_in_a_stream_is_reported_with_its_place(change, message):
    cfg = dict(dataset=dict(type="TinyTexts"), collate=dict(type="TinyCollate"), batch_size=2)
    with pytest.raises(ConfigError, match=message):
        build_streams(dict(image=cfg | change))


def test_a_mistake_in_an_evaluation_is_reported_with_its_place():
    cfg = dict(dataset=dict(type="TinyTexts"), collate=dict(type="TinyCollate"), batch_size=2, wieght=1)
    with pytest.raises(ConfigError, match=r"evaluations\.held_out: .*'wieght'"):
        build_evaluation_loader("held_out", cfg)


class Waiting(TinyTexts):
    """Texts that are not returned before they are released; counts those that were requested."""

    def __init__(self, size):
        super().__init__(size)
        self.released, self.requests = multiprocessing.Event(), multiprocessing.Value("i", 0)

    def __getitem__(self, index):
        with self.requests.get_lock():
            self.requests.value += 1
        assert self.released.wait(60)
        return super().__getitem__(index)


def test_a_slow_stream_holds_up_no_other_and_both_are_read_ahead_of_the_model():
    texts, ready = Waiting(10), Waiting(10)
    slow = Stream("slow", texts, TinyCollate(), 2, num_workers=2)
    quick = Stream("quick", ready, TinyCollate(), 1, num_workers=2)
    ready.released.set()
    for stream in (slow, quick):
        stream.start(seed=0)
    for _ in range(3):
        next(quick)  # while no record of the other comes
    texts.released.set()
    next(slow)
    end = time.monotonic() + 60
    while texts.requests.value < 4 or ready.requests.value < 4:  # more than the batches that were taken
        assert time.monotonic() < end, "nothing is read ahead"
        time.sleep(0.01)
    for stream in (slow, quick):
        stream.stop()


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
def test_a_worker_has_as_many_batches_ready_as_configured(factor):
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
    assert all(torch.equal(entry.text_ids, other.text_ids) for entry, other in zip(*batches, strict=True))


def test_no_batch_ready_is_refused():
    with pytest.raises(ValueError, match=r"prefetch_factor is 0; expected 1 or more"):
        tiny_stream(prefetch_factor=0)
