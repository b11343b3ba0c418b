"""When data fail in the middle of a run, nothing that was learned is lost."""

import os
import signal
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook

from x2vlm.data.bad_record_log import BadRecordLog, TooManyBadRecordsError
from x2vlm.engine import build_runner
from x2vlm.engine.failures.data_workers import DataStoppedError
from x2vlm.engine.metrics_log import append_line, evaluated_iterations


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path)["state_dict"]


def failing(runner, at: int, error: Exception):
    """Lets the last stream fail in an iteration (counted from 0), after the others have given their batches."""
    stream = list(runner.train_loop.streams.values())[-1]
    batches, count = stream.__class__.__next__, [0]

    class Failing(stream.__class__):
        def __next__(self):
            count[0] += 1
            if count[0] > at:
                raise error
            return batches(self)

    stream.__class__ = Failing
    return runner


def test_a_stream_that_fails_leaves_a_checkpoint_of_the_last_step_from_which_the_run_goes_on_to_the_bit(
    config, train, tmp_path
):
    train(config(5, work_dir=tmp_path / "whole"))
    runner = failing(build_runner(config(5)), 3, OSError(5, "Input/output error", "shard-7.tar"))
    with pytest.raises(DataStoppedError, match=r"shard-7\.tar(.|\n)*iter_3\.pth is saved(.|\n)*--resume"):
        runner.train()
    again = train(config(5, resume=True))
    assert again.loaded_from.endswith("iter_3.pth")
    ours, theirs = weights(tmp_path / "work" / "iter_5.pth"), weights(tmp_path / "whole" / "iter_5.pth")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert again.train_loop.state_dict()["draws"] == {"image": 10, "text": 15}


def test_any_other_error_of_the_data_is_raised_as_it_is_after_saving(config, tmp_path):
    with pytest.raises(ZeroDivisionError):
        failing(build_runner(config(5)), 2, ZeroDivisionError()).train()
    assert (tmp_path / "work" / "iter_2.pth").is_file()


def test_too_many_bad_records_leave_a_checkpoint_too(config):
    error = TooManyBadRecordsError("stream 'text': 9 of 10")
    with pytest.raises(TooManyBadRecordsError, match=r"9 of 10\niter_2\.pth is saved"):
        failing(build_runner(config(5)), 2, error).train()


def test_inside_an_accumulation_nothing_can_be_saved_and_the_last_checkpoint_is_named(config):
    cfg = config(8)
    cfg["optim_wrapper"]["accumulative_counts"] = 2
    cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=2)
    with pytest.raises(DataStoppedError, match=r"The last checkpoint is .*iter_2\.pth"):
        failing(build_runner(cfg), 3, OSError("gone")).train()


class KillWorker(Hook):
    """Kills a process that prepares batches, in the middle of a step."""

    def __init__(self, at: int) -> None:
        self.at = at

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if batch_idx == self.at:
            workers = next(iter(runner.train_loop.streams.values()))._batches._workers
            os.kill(workers[0].pid, signal.SIGKILL)
            workers[0].join()


def test_a_worker_that_is_killed_ends_the_run_after_its_step_with_a_checkpoint(config, tmp_path):
    cfg = config(50)
    for stream in cfg["streams"].values():
        stream["num_workers"] = 1
    runner = build_runner(cfg)
    runner.register_hook(KillWorker(2))
    handler = signal.getsignal(signal.SIGCHLD)
    with pytest.raises(DataStoppedError, match=r"has died: .*num_workers(.|\n)*iter_\d+\.pth is saved"):
        runner.train()
    assert runner.iter >= 3
    assert (tmp_path / "work" / f"iter_{runner.iter}.pth").is_file()
    assert type(signal.getsignal(signal.SIGCHLD)) in (type(handler), type(lambda: None))


def test_an_evaluation_that_a_killed_run_did_not_come_to_is_made_up_for(config, train, tmp_path):
    cfg = config(4)
    cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=2)
    cfg["train_cfg"]["val_interval"] = 2
    train(cfg)
    metrics = tmp_path / "work" / "metrics.jsonl"
    assert evaluated_iterations(metrics) == {2, 4}
    metrics.write_text(metrics.read_text().splitlines()[0] + '\n{"mode": "val", "it')  # killed while it was written
    train(cfg | dict(resume=True))
    assert evaluated_iterations(metrics) == {2, 4}
    lines = metrics.read_text()
    train(cfg | dict(resume=True))
    assert metrics.read_text() == lines


def test_half_a_line_is_taken_off_before_the_next(tmp_path):
    path = tmp_path / "lines"
    append_line(path, "one")
    path.write_text("one\ntw")
    append_line(path, "three")
    assert path.read_text() == "one\nthree\n"


def test_half_a_bad_record_of_a_run_that_was_killed_is_taken_off(tmp_path):
    file = tmp_path / "bad_records.jsonl"
    file.write_text('{"stream": "a", "where": "x:1", "reason": "broken"}\n{"stream": "a", "wh')
    assert BadRecordLog(file).counts["a"].reasons == {"x:1": "broken"}
    assert len(file.read_text().splitlines()) == 1
