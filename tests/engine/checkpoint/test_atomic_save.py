"""Checkpoints are complete or absent, also where a write is cut off or the disk is full."""

import hashlib
import os
import resource
from pathlib import Path

import pytest

from tests.engine.checkpoint.checkpoints import names, saving, written
from x2vlm.engine import SaveError, build_runner
from x2vlm.engine.checkpoint.atomic_save import PART, commit, part_of, remove_leftovers
from x2vlm.weights.integrity import damage, hash_of


def test_the_hash_is_that_of_sha256sum(tmp_path):
    path = written(tmp_path / "iter_1.pth", b"content")
    assert hash_of(path).read_text() == f"{hashlib.sha256(b'content').hexdigest()}  iter_1.pth\n"
    assert sorted(os.listdir(tmp_path)) == ["iter_1.pth", "iter_1.pth.sha256"]


@pytest.mark.parametrize("there_before", [True, False])
def test_wherever_a_commit_is_cut_off_the_file_is_the_old_or_the_new_one_and_fits_its_hash(
    tmp_path, monkeypatch, there_before
):
    for steps in range(20):
        path = tmp_path / str(steps) / "iter_1.pth"
        path.parent.mkdir()
        if there_before:
            written(path, b"old")
        with monkeypatch.context() as patch:
            done = cut_off_after(steps, patch)
            part_of(path).write_bytes(b"new")
            try:
                commit(path)
                finished = True
            except KeyboardInterrupt:
                finished = False
        assert path.exists() or not there_before
        if path.exists():
            assert path.read_bytes() in ((b"new",) if finished else (b"old", b"new"))
            assert damage(path) is None
        if finished:
            assert done[0] <= steps
            return
    pytest.fail("the commit never came to its end")


def cut_off_after(steps: int, patch: pytest.MonkeyPatch) -> list[int]:
    """From now on the process dies instead of the next step on the disk but ``steps``."""
    done = [0]

    def dying(step):
        def one(*args, **kwargs):
            if done[0] == steps:
                raise KeyboardInterrupt
            done[0] += 1
            return step(*args, **kwargs)

        return one

    patch.setattr(os, "replace", dying(os.replace))
    patch.setattr(os, "fsync", dying(os.fsync))
    patch.setattr(Path, "write_text", dying(Path.write_text))
    return done


def test_partial_files_and_hashes_without_a_file_are_removed(tmp_path):
    written(tmp_path / "iter_1.pth", b"content")
    for name in (f"iter_2.pth{PART}", f"iter_2.pth.sha256{PART}", "iter_3.pth.sha256", "other.part"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["iter_1.pth", "iter_1.pth.sha256", "other.part"]


def test_a_file_that_may_not_grow_any_more_fails_like_a_full_disk(config, tmp_path):
    runner = build_runner(saving(config(4), interval=2, max_failed_saves=0))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        with pytest.raises(SaveError, match=r"iter_2\.pth could not be saved: there is no room left"):
            runner.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert names(tmp_path / "work") == []
