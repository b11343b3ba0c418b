"""Checkpoints are complete or absent, also where the disk is full; damaged ones are found out."""

import hashlib
import os
import resource
import subprocess
from pathlib import Path

import pytest

from x2vlm.building import ConfigError
from x2vlm.engine import SaveError, build_runner
from x2vlm.engine.checkpoint.integrity import PART, commit, damage, hash_of, part_of, set_aside, sweep
from x2vlm.weights.weight_files import write_plain


def saving(config: dict, **options) -> dict:
    config["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", **options)
    return config


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(("iter_", "best_")))


def log_of(runner) -> str:
    return Path(runner.work_dir, runner.timestamp, f"{runner.timestamp}.log").read_text()


def written(path: Path, content: bytes) -> Path:
    part_of(path).write_bytes(content)
    commit(path)
    return path


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


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


def test_any_change_is_found_out(tmp_path):
    path = written(tmp_path / "iter_1.pth", bytes(1000))
    assert damage(path) is None
    flipped(path)
    assert "not what was written" in damage(path)


def test_without_a_hash_only_what_cannot_be_read_is_damaged(config, train, tmp_path):
    train(config(2))
    path = tmp_path / "work" / "iter_2.pth"
    hash_of(path).unlink()
    assert damage(path) is None
    flipped(path)
    assert "is damaged" in damage(path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "cut off" in damage(path)
    path.write_bytes(b"")
    assert damage(path) == "it is empty"


def test_what_is_set_aside_keeps_its_hash(tmp_path):
    aside = set_aside(written(tmp_path / "iter_1.pth", b"content"))
    assert names(tmp_path) == ["iter_1.pth.damaged", "iter_1.pth.damaged.sha256"]
    assert damage(aside) is None


def test_halves_and_hashes_without_a_file_are_swept_away(tmp_path):
    written(tmp_path / "iter_1.pth", b"content")
    for name in (f"iter_2.pth{PART}", f"iter_2.pth.sha256{PART}", "iter_3.pth.sha256", "other.part"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["iter_1.pth", "iter_1.pth.sha256", "other.part"]


@pytest.mark.parametrize("harm", [flipped, lambda path: path.write_bytes(path.read_bytes()[:500])])
def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before_loudly(config, train, tmp_path, harm):
    train(saving(config(4), interval=2))
    harm(tmp_path / "work" / "iter_4.pth")
    runner = train(saving(config(5, resume=True), interval=2))
    assert runner.loaded_from.endswith("iter_2.pth")
    assert runner.iter == 5
    assert "iter_4.pth is damaged (" in log_of(runner)
    assert "now iter_4.pth.damaged. Going on from iter_2.pth, the one before it." in log_of(runner)
    assert "iter_4.pth.damaged" in names(tmp_path / "work")


def test_where_all_checkpoints_are_damaged_nothing_is_begun_or_renamed(config, train, tmp_path):
    train(saving(config(4), interval=2))
    before = names(tmp_path / "work")
    for path in (tmp_path / "work").glob("iter_*.pth"):
        flipped(path)
    with pytest.raises(ConfigError, match=r"all checkpoints .* are damaged:(.|\n)*iter_4\.pth(.|\n)*iter_2\.pth"):
        build_runner(config(6, resume=True))
    assert names(tmp_path / "work") == before


def test_a_damaged_checkpoint_that_was_named_is_refused(config, train, tmp_path):
    train(config(4))
    flipped(tmp_path / "work" / "iter_4.pth")
    with pytest.raises(ConfigError, match=r"--resume: .*iter_4\.pth is damaged"):
        build_runner(config(6, resume=str(tmp_path / "work" / "iter_4.pth")))


def test_the_last_ones_are_kept_and_go_with_their_hashes(config, train, tmp_path):
    train(saving(config(5), interval=1, max_keep_ckpts=2))
    assert names(tmp_path / "work") == [f"iter_{n}.pth{end}" for n in (4, 5) for end in ("", ".sha256")]
    train(saving(config(7, resume=True), interval=1, max_keep_ckpts=1))
    assert names(tmp_path / "work") == ["iter_7.pth", "iter_7.pth.sha256"]


def test_the_only_checkpoint_is_there_until_the_next_one_is(config, tmp_path, monkeypatch):
    """MMEngine removes it first."""
    runner = build_runner(saving(config(3), interval=1, max_keep_ckpts=1))
    seen, save = [], runner.save_checkpoint
    monkeypatch.setattr(
        runner, "save_checkpoint", lambda *a, **k: (seen.append(names(tmp_path / "work")), save(*a, **k))
    )
    runner.train()
    assert [[name for name in there if name.endswith("pth")] for there in seen] == [[], ["iter_1.pth"], ["iter_2.pth"]]


def test_the_best_one_is_kept_and_goes_with_its_hash_after_the_better_one_is_written(config, tmp_path, monkeypatch):
    cfg = saving(config(3), interval=1, max_keep_ckpts=1, save_best="held_out/score", rule="greater")
    cfg["train_cfg"]["val_interval"] = 1
    runner = build_runner(cfg)
    scores = iter((1.0, 3.0, 2.0))
    metric = runner.val_loop.evaluator["held_out"]
    monkeypatch.setattr(metric, "evaluate", lambda model, loader: {"score": next(scores)}, raising=False)
    there, save = [], runner.save_checkpoint
    monkeypatch.setattr(
        runner, "save_checkpoint", lambda *a, **k: (there.append(set(names(tmp_path / "work"))), save(*a, **k))
    )
    runner.train()
    best = [name for name in names(tmp_path / "work") if name.startswith("best")]
    assert best == ["best_held_out_score_iter_2.pth", "best_held_out_score_iter_2.pth.sha256"]
    assert any({"best_held_out_score_iter_1.pth", "best_held_out_score_iter_2.pth"} <= seen for seen in there)


def test_a_best_number_that_is_not_measured_is_told_with_those_that_are(config, train):
    with pytest.raises(ConfigError, match=r"held_out/r1 was not measured; there are: held_out/batches, "):
        train(saving(config(2), save_best="held_out/r1", rule="greater"))


class Full:
    """Lets the saves of some iterations fail as on a disk without room."""

    def __init__(self, iterations) -> None:
        self.iterations = iterations

    def __call__(self, path, content):
        if content["meta"]["iter"] not in self.iterations:
            return write_plain(path, content)
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")


@pytest.fixture
def full(monkeypatch):
    """``full(runner, iterations)``: the disk is full whenever these are saved."""

    def fill(runner, iterations):
        monkeypatch.setattr("x2vlm.engine.runner.write_plain", Full(iterations))
        return runner

    return fill


def test_a_full_disk_is_told_and_training_goes_on_with_the_state_as_if_nothing_had_been_tried(config, full, tmp_path):
    runner = full(build_runner(saving(config(5), interval=1, max_keep_ckpts=2)), {2, 3})
    runner.train()
    assert runner.iter == 5
    assert [name for name in names(tmp_path / "work") if name.endswith("pth")] == ["iter_4.pth", "iter_5.pth"]
    assert not list((tmp_path / "work").glob(f"*{PART}"))
    assert "iter_2.pth could not be saved: there is no room left (" in log_of(runner)
    assert "Training goes on; if the next 2 saves fail as well, it stops." in log_of(runner)


def test_what_a_failed_save_would_have_replaced_stays(config, full, tmp_path):
    runner = full(build_runner(saving(config(6), interval=2, max_keep_ckpts=1)), {4, 6})
    with pytest.raises(SaveError, match=r"iter_6\.pth could not be saved"):  # the last one must not fail
        runner.train()
    assert names(tmp_path / "work") == ["iter_2.pth", "iter_2.pth.sha256"]
    assert runner.message_hub.get_info("keep_ckpt_ids") == [2]


def test_too_many_failed_saves_in_a_row_stop_the_run(config, full):
    runner = full(build_runner(saving(config(9), interval=1, max_failed_saves=1)), {2, 4, 5})
    with pytest.raises(SaveError, match=r"iter_5\.pth could not be saved"):
        runner.train()


def test_a_best_checkpoint_that_does_not_fit_leaves_the_one_before(config, tmp_path, monkeypatch, full):
    cfg = saving(config(3), interval=1, save_best="held_out/score", rule="greater")
    cfg["train_cfg"]["val_interval"] = 1
    runner = build_runner(cfg)
    scores = iter((1.0, 3.0, 2.0))
    metric = runner.val_loop.evaluator["held_out"]
    monkeypatch.setattr(metric, "evaluate", lambda model, loader: {"score": next(scores)}, raising=False)

    def without_room_for_the_second(path, content):
        if path.name.startswith("best") and "iter_2" in path.name:
            raise OSError(28, "No space left on device")
        write_plain(path, content)

    monkeypatch.setattr("x2vlm.engine.runner.write_plain", without_room_for_the_second)
    runner.train()  # whose third score is better than the first, which is the best one saved
    best = [name for name in names(tmp_path / "work") if name.startswith("best") and name.endswith("pth")]
    assert best == ["best_held_out_score_iter_3.pth"]
    assert runner.message_hub.get_info("best_score") == 2.0


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


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_on_a_disk_that_fills_up_the_run_goes_on_and_the_last_whole_checkpoint_with_it(
    config, train, small_disk, tmp_path
):
    cfg = saving(config(4, work_dir=tmp_path / "work"), interval=1, out_dir=str(small_disk), max_keep_ckpts=1)
    runner = build_runner(cfg)
    hook = next(hook for hook in runner.hooks if hasattr(hook, "save_now"))
    tell = runner.call_hook

    def fill(name, **kwargs):
        if name == "before_train_iter" and runner.iter == 2:
            room = os.statvfs(small_disk)
            (small_disk / "other").write_bytes(bytes(room.f_bavail * room.f_frsize))
        return tell(name, **kwargs)

    runner.call_hook = fill
    with pytest.raises(SaveError, match=r"iter_4\.pth could not be saved: there is no room left \(0 MiB free\)"):
        runner.train()
    assert names(small_disk / "work") == ["iter_2.pth", "iter_2.pth.sha256"]
    assert hook.failed_saves == 2
    (small_disk / "other").unlink()
    again = train(saving(config(4, resume=True), interval=1, out_dir=str(small_disk), max_keep_ckpts=1))
    assert again.loaded_from.endswith("disk/work/iter_2.pth")
    assert names(small_disk / "work") == ["iter_4.pth", "iter_4.pth.sha256"]
