"""Whatever is in the data: a sample comes out, or the record is counted with its place and a reason; nothing else."""

import random
import resource
import shutil
import signal
import statistics
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.data import hostile
from tests.data.fuzzed import CASES, Stock
from x2vlm.data.bad_record_log import BadRecordLog
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.loader import SeededCollate
from x2vlm.data.replace_bad_records import SeededDataset
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.registry import DATASETS

pytestmark = pytest.mark.filterwarnings("ignore")

SECONDS = 10  # per record
PER_FOLDER = 20
ROUNDS = 34  # of a folder for every case
GROWTH = 60  # MiB that the later rounds may take more than the earlier ones; images of 4 million pixels come and go


@pytest.fixture(scope="module")
def stock(tmp_path_factory):
    from tests.data.conftest import clip_writer

    return Stock(hostile.images(), hostile.clips(clip_writer(tmp_path_factory.mktemp("clips"))))


@contextmanager
def deadline(seconds: int, what: str):
    """Fail if what is inside takes longer; in C code too, as soon as it comes back."""

    def late(number, frame):
        raise AssertionError(f"{what}: not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def opened(open_it, what: str, tally: Counter) -> Adapter | None:
    """The adapter, unless the files as such are refused, in a sentence that names one."""
    try:
        with deadline(SECONDS, what):
            return open_it()
    except (ValueError, FileNotFoundError) as error:
        assert len(str(error)) > 20, f"{what}: {error!r}"
        assert type(error) in (ValueError, FileNotFoundError), f"{what}: {error!r}"
        tally["files refused"] += 1
        return None


def read_all(adapter: Adapter, log: BadRecordLog, what: str, tally: Counter) -> None:
    """Every record as training reads it, collated, and entered in the book of bad ones."""
    data = SeededDataset(adapter, what, attempts=1)
    collate = SeededCollate(PairCollate(bert_vocab(["a", "red", "cat", "dog", "runs"])), what)
    for index in range(len(adapter)):
        with deadline(SECONDS, f"{what} record {index}"):
            drawn = data[index, index]
            batch = collate([drawn])
        assert (drawn.sample is None) == bool(drawn.bad), what
        for bad in drawn.bad:
            assert bad.where, f"{what}: {bad}"
            assert len(bad.reason) > 5, f"{what}: {bad}"
        log.note(what, batch)
        tally["read"] += 1
        tally["rejected"] += len(drawn.bad)


def fuzz(name: str, folder: Path, stock: Stock, seed: int, count: int, tally: Counter) -> None:
    """One folder of hostile files, written and read."""
    folder.mkdir()
    what, rng = f"{name}, seed {seed}", random.Random(f"{name} {seed}")
    open_it = CASES[name](folder, rng, count, stock)
    tally["records"] += count
    adapter = opened(open_it, what, tally)
    if adapter is not None:
        log = BadRecordLog(folder / "bad.jsonl", max_fraction=1)
        read_all(adapter, log, what, tally)
        again = BadRecordLog(folder / "bad.jsonl")
        assert again.counts.keys() <= {what}
        assert not log.counts or again._counts_of(what).reasons == log.counts[what].reasons


@pytest.mark.parametrize("name", CASES)
def test_whatever_is_in_the_files_a_record_is_a_sample_or_counted(name, tmp_path, stock):
    tally: Counter = Counter()
    for seed in range(2):
        fuzz(name, tmp_path / str(seed), stock, seed, PER_FOLDER, tally)
    assert tally["records"] == 2 * PER_FOLDER
    assert tally["read"] >= PER_FOLDER or tally["files refused"]


def test_every_adapter_is_among_them():
    kinds = [kind for kind in DATASETS.module_dict.values() if kind.__module__.startswith("x2vlm.")]
    # Adapters of public files have layouts of their own, which tests/data/datasets/test_published_files.py damages.
    adapters = {kind.__name__ for kind in kinds if not issubclass(kind, NumberedAdapter)}
    assert adapters == {name.split()[0] for name in CASES}


@pytest.mark.slow
def test_ten_thousand_hostile_records_are_read_in_memory_that_does_not_grow(tmp_path, stock, monkeypatch):
    monkeypatch.setattr("x2vlm.data.bad_record_log.print_log", lambda *args, **kwargs: None)
    tallies, sizes = {name: Counter() for name in CASES}, []
    for seed in range(100, 100 + ROUNDS):
        for name, tally in tallies.items():
            fuzz(name, tmp_path / f"{name} {seed}", stock, seed, PER_FOLDER, tally)
            shutil.rmtree(tmp_path / f"{name} {seed}")
        sizes.append(resident())
    for name, tally in tallies.items():
        sys.stdout.write(f"{name}: {dict(tally)}\n")
    sys.stdout.write(f"resident MiB after each round: {sizes}\n")
    hostile_ones = [tally for name, tally in tallies.items() if not name.startswith("Toy")]
    assert sum(tally["records"] for tally in hostile_ones) >= 10_000
    assert sum(tally["read"] for tally in hostile_ones) >= 9_000
    assert statistics.median(sizes[-5:]) - statistics.median(sizes[5:10]) < GROWTH


def resident() -> int:
    """Memory of this process in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 2**20
