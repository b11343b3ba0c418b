"""Streams: any place at once, the same whatever the workers; bad records counted, named, and never in the way."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch
from torch.utils.data import Dataset

from tests.engine.tiny_parts import TinyCollate, TinyTexts
from x2vlm.data import loader as loader_module
from x2vlm.data.loader import EvaluationLoader, make_loader
from x2vlm.data.sampler import StreamSampler

ROOT = Path(__file__).resolve().parents[2]


def first(sampler: StreamSampler, count: int) -> list[tuple[int, int]]:
    positions = iter(sampler)
    return [next(positions) for _ in range(count)]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_evaluation_reads_every_record_once_in_order_and_counts_bad_ones(workers):
    loader = EvaluationLoader("held_out", TinyTexts(7, bad=[2, 3]), TinyCollate(), 2, num_workers=workers)
    for _ in range(2):  # and again
        assert [where for batch in loader for where in batch.where] == [f"tiny.jsonl:{n}" for n in (0, 1, 4, 5, 6)]
    assert loader.bad_record_log.counts["held_out"].reasons.keys() == {"tiny.jsonl:2", "tiny.jsonl:3"}
    assert len(loader) == 4


def test_an_evaluation_is_shared_by_the_processes(monkeypatch):
    results = []
    for rank in range(3):
        monkeypatch.setattr(loader_module, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(loader_module, "world_size", lambda: 3)
        loader = EvaluationLoader("held_out", TinyTexts(4), TinyCollate(), 2)
        results.append([where for batch in loader for where in batch.where])
    assert results == [["tiny.jsonl:0", "tiny.jsonl:3"], ["tiny.jsonl:1"], ["tiny.jsonl:2"]]


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
from tests.data.test_loader import Threads, make_loader
cv2.setNumThreads(2)
cv2.GaussianBlur(numpy.zeros((2000, 2000, 3), numpy.uint8), (31, 31), 5)
time.sleep(0.5)  # its threads wait for more by now
print(list(make_loader(Threads(), list, batch_size=1, sampler=range(2), num_workers=1)))
"""


def test_workers_start_where_opencv_has_had_threads_before():
    done = subprocess.run([sys.executable, "-c", AFTER_OPENCV], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.stdout.split() == ["[[(1,", "1)],", "[(1,", "1)]]"], done.stderr


class Processes(TinyTexts):
    """The process that reads a record is its place."""

    def __getitem__(self, index):
        sample = super().__getitem__(index)
        sample.where = str(os.getpid())
        return sample


@pytest.mark.parametrize("kept", [True, False])
def test_the_workers_of_an_evaluation_are_kept_if_requested(kept):
    loader = EvaluationLoader(
        "held_out", Processes(4), TinyCollate(), 2, num_workers=1, persistent_workers=kept, seed=5
    )
    first, second = ([batch.where[0] for batch in loader] for _ in range(2))
    assert len({*first, *second}) == (1 if kept else 2)
    assert str(os.getpid()) not in first
