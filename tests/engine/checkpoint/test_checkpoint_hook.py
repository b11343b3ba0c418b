"""Which checkpoints are kept, and saves that fail."""

import os
import subprocess

import pytest

from tests.engine.checkpoint.checkpoints import log_of, names, saving
from x2vlm.building import ConfigError
from x2vlm.engine import SaveError, build_runner
from x2vlm.engine.checkpoint.atomic_save import PART
from x2vlm.weights.checkpoint_file import write_file


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


def test_a_best_metric_that_is_not_measured_is_refused_with_those_that_are(config, train):
    with pytest.raises(ConfigError, match=r"held_out/r1 was not measured; there are: held_out/batches, "):
        train(saving(config(2), save_best="held_out/r1", rule="greater"))


class Full:
    """Lets the saves of some iterations fail as on a disk without room."""

    def __init__(self, iterations) -> None:
        self.iterations = iterations

    def __call__(self, path, content):
        if content["meta"]["iter"] not in self.iterations:
            return write_file(path, content)
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")


@pytest.fixture
def full(monkeypatch):
    """``full(runner, iterations)``: the disk is full whenever these are saved."""

    def fill(runner, iterations):
        monkeypatch.setattr("x2vlm.engine.checkpoint.atomic_save.write_file", Full(iterations))
        return runner

    return fill


def test_a_full_disk_is_reported_and_training_goes_on_with_the_state_as_if_nothing_had_been_tried(
    config, full, tmp_path
):
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
        write_file(path, content)

    monkeypatch.setattr("x2vlm.engine.checkpoint.atomic_save.write_file", without_room_for_the_second)
    runner.train()  # whose third score is better than the first, which is the best one saved
    best = [name for name in names(tmp_path / "work") if name.startswith("best") and name.endswith("pth")]
    assert best == ["best_held_out_score_iter_3.pth"]
    assert runner.message_hub.get_info("best_score") == 2.0


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_on_a_disk_that_fills_up_the_run_goes_on_and_keeps_the_last_complete_checkpoint(
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
