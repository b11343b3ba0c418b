import hashlib
import multiprocessing
import os

import pytest

from x2vlm.data.io.atomic_files import write_atomically
from x2vlm.weights.integrity import sha256_of_file


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "a.json"
    write_atomically(path, "old")
    write_atomically(path, "new ä")
    assert path.read_text(encoding="utf-8") == "new ä"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_no_part_of_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")

    def full_disk(source, target):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def write_often(path, letter):
    for _ in range(150):
        write_atomically(path, letter * 5000)


def test_processes_that_write_one_file_at_a_time_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "a.json"
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=write_often, args=(path, letter)) for letter in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert path.read_text() in ("a" * 5000, "b" * 5000)
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_written_over(tmp_path):
    (tmp_path / "a.json.part").write_text("half of something longer")
    write_atomically(tmp_path / "a.json", "new")
    assert (tmp_path / "a.json").read_text() == "new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a.json"]


def test_the_digest_is_that_of_the_content(tmp_path):
    content = bytes(range(256)) * 5000  # more than a block
    (tmp_path / "a.bin").write_bytes(content)
    assert sha256_of_file(tmp_path / "a.bin") == hashlib.sha256(content).hexdigest()
