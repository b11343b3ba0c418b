"""Every adapter of public files on files in exactly the published layout (``published_layouts.py``)."""

import json
import pickle
import random
import re
import signal
import sys
import time
from contextlib import contextmanager

import pytest

from tests.data.datasets.published_layouts import LAYOUTS, PACKAGES
from x2vlm.building import build
from x2vlm.commands.verify_dataset import main as verify
from x2vlm.data.data_root import with_data_root
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.record import RecordError
from x2vlm.registry import DATASETS


@pytest.fixture(params=LAYOUTS)
def layout(request, tmp_path):
    return written(request.param, tmp_path)


def written(name, folder):
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])
    return LAYOUTS[name](folder)


def opened(layout, root, **more):
    return build(DATASETS, with_data_root({**layout.config, **more}, str(root)))


def outcomes(data):
    whole, broken = [], []
    for index in range(len(data)):
        try:
            whole.append(data[index])
        except RecordError as error:
            broken.append(str(error))
    return whole, broken


def test_published_files_are_read_and_what_is_broken_is_named(layout, tmp_path):
    data = opened(layout, tmp_path, pipeline=[dict(type="LoadImage")] if layout.decoded else [])
    whole, broken = outcomes(data)
    assert len(whole) == layout.whole
    assert len(broken) == len(layout.broken)
    for reason, expected in zip(broken, layout.broken, strict=True):
        assert re.search(expected, reason), reason
    assert {key: whole[0].get(key) for key in layout.first} == layout.first


def test_they_are_read_by_verify_dataset(layout, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = ", ".join(f"{key}={value!r}" for key, value in layout.config.items() if key != "type")
    status = verify([f"{layout.config['type']}({options})", "--json"])
    (report,) = json.loads(capsys.readouterr().out).values()
    assert (status, report["bad"], report["records"]) == (1, len(layout.broken), layout.whole + len(layout.broken))


def test_their_adapters_can_be_sent_to_another_process_and_take_a_subset(layout, tmp_path):
    data = pickle.loads(pickle.dumps(opened(layout, tmp_path, subset=dict(stop=1))))
    assert len(data) == 1
    assert {key: data.record(0).get(key) for key in layout.first} == layout.first


def test_an_identity_is_left_out_by_a_subset(layout, tmp_path):
    data = opened(layout, tmp_path)
    left_out = str(data.record(0)["id"])
    try:
        rest = opened(layout, tmp_path, subset=dict(exclude_ids=[left_out]))
    except ValueError as error:
        assert "no record is left" in str(error)
        return
    assert left_out not in [record["id"] for record in outcomes(rest)[0]]


JUNK = [None, True, -1, 10**400, 0.5, "", "x" * 300, "../../etc/passwd", "\ud800", [], {}, [[[]]], {"a": 1}, 3.0]
ROUNDS = 120  # of each layout
SECONDS = 10  # of one damaged copy
SHOWN = (".jpg", ".png", ".JPEG", ".mp4", ".avi")


def mutate(path, rng):
    """Put junk in the place of a value of a JSON file; of any other file, damage some bytes."""
    data = path.read_bytes()
    if path.suffix in (".json", ".jsonl") and rng.random() < 0.7:
        lines = data.decode().splitlines() if path.suffix == ".jsonl" else [data.decode()]
        try:
            trees = [json.loads(line) for line in lines]
        except ValueError:
            trees = []
        if trees:
            _replace(rng.choice(trees), rng)
            path.write_text("\n".join(json.dumps(tree) for tree in trees))
            return
    damaged = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        damaged[rng.randrange(len(damaged))] = rng.choice(b'\x00\xff{}[]",:\t\n9a')
    path.write_bytes(damaged[: rng.randint(1, len(damaged))] if rng.random() < 0.2 else damaged)


def _replace(tree, rng):
    places = []

    def walk(node):
        for key in node if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    if isinstance(tree, dict | list):
        walk(tree)
    if places:
        node, key = rng.choice(places)
        if isinstance(node, dict) and rng.random() < 0.2:
            del node[key]
        else:
            node[key] = rng.choice(JUNK)


@contextmanager
def deadline(seconds, what):
    """Fail if what is inside computes for longer."""

    def late(number, frame):
        raise AssertionError(f"{what}: not done after {seconds} CPU s")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def mangled(layout, root, rounds, seed=0):
    """How many records were read of damaged copies; whatever is raised but what may be, comes out."""
    rng, read = random.Random(seed), 0
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    files = [path for path in files if path.suffix not in SHOWN] or files
    originals = {path: path.read_bytes() for path in files}
    for _ in range(rounds):
        path = rng.choice(files)
        mutate(path, rng)
        with deadline(SECONDS, f"{layout.config}: {path}"):
            read += records_or_sentence(layout, root)
        path.write_bytes(originals[path])
    return read


def records_or_sentence(layout, root):
    """How many records the files have; one where they are refused as such."""
    try:
        whole, broken = outcomes(opened(layout, root))
    except (ValueError, FileNotFoundError) as error:
        assert str(error)
        return 1
    return len(whole) + len(broken)


def test_damaged_files_give_bad_records_or_a_sentence_and_nothing_else(layout, tmp_path):
    assert mangled(layout, tmp_path, rounds=8) >= 8


@pytest.mark.slow
def test_ten_thousand_damaged_records_give_nothing_else_and_none_hangs(tmp_path):
    for package in set(PACKAGES.values()):
        pytest.importorskip(package)
    read, start = 0, time.process_time()
    for seed, (name, write) in enumerate(LAYOUTS.items()):
        (tmp_path / name).mkdir()
        read += mangled(write(tmp_path / name), tmp_path / name, rounds=ROUNDS, seed=seed)
    sys.stdout.write(f"{read:,} damaged records of {len(LAYOUTS)} layouts, {time.process_time() - start:.0f} CPU s\n")
    assert read >= 10_000


def test_every_adapter_of_public_files_has_a_layout(tmp_path):
    for package in set(PACKAGES.values()):
        pytest.importorskip(package)
    kinds = [kind for kind in DATASETS.module_dict.values() if kind.__module__.startswith("x2vlm.")]
    adapters = {kind.__name__ for kind in kinds if issubclass(kind, NumberedAdapter)}
    for name in LAYOUTS:
        (tmp_path / name).mkdir()
    types = {write(tmp_path / name).config["type"] for name, write in LAYOUTS.items()}
    assert adapters <= types
