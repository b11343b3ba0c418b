"""What is logged beside the steps, and stopping in good order."""

import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer

from tests.engine.tiny_parts import TinySignals
from x2vlm.engine import build_runner
from x2vlm.engine.hooks.logging_hooks import StopHook, hook_of, progress_text


class Losses(Hook):
    def __init__(self):
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(outputs["image.loss_a"].item())


def scalars(runner) -> list[dict]:
    lines = Path(runner.work_dir, runner.timestamp, "vis_data", "scalars.json").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "loss" in line]


def test_the_log_holds_the_mean_since_its_last_line_and_the_last_iterations_too(config):
    cfg = config(5)
    cfg["default_hooks"]["logger"] = dict(type="LoggerHook", interval=2, ignore_last=False)
    runner = build_runner(cfg)
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    logged = [line["image.loss_a"] for line in scalars(runner)]
    a, b, c, d, e = losses.values
    # the last iteration has no full interval, so MMEngine writes no line for it unless the run is short
    assert logged == pytest.approx([(a + b) / 2, (c + d) / 2, e][: len(logged)])
    assert len(logged) >= 2


def test_the_log_names_stream_and_objective_and_gives_throughput_and_times(config, train):
    line = scalars(train(config(4)))[-1]
    assert {"image.loss_a", "image.loss_b", "text.loss_a", "loss", "lr", "grad_norm", "time", "step"} <= line.keys()
    assert line["pairs_per_second"] > 0


def test_validation_does_not_count_as_time_of_a_step(config):
    class Slow(Hook):
        priority = "LOWEST"

        def before_val(self, runner):
            time.sleep(0.3)

    cfg = config(4, train_cfg=dict(type="MixedTrainLoop", max_iters=4, val_interval=1))
    runner = build_runner(cfg)
    runner.register_hook(Slow())
    runner.train()
    assert max(runner.message_hub.get_scalar("train/time").data[0]) < 0.25


def test_losses_are_not_read_from_the_device_in_every_step(config, train):
    runner = train(config(6))
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 3  # interval 2
    assert len(runner.message_hub.get_scalar("train/time").data[0]) == 6


def test_the_live_line_is_short_and_says_what_matters():
    logged = {
        "train/loss": HistoryBuffer([3.25], [1]),
        "train/image.loss_itc": HistoryBuffer([1.5], [1]),
        "train/pairs_per_second": HistoryBuffer([412.3], [1]),
        "val/loss": HistoryBuffer([9.0], [1]),
    }
    assert progress_text(logged, 80) == "412 pairs/s, loss 3.25, image.itc 1.5"
    assert progress_text(logged, 12) == "412 pairs..."


def test_on_a_terminal_there_is_a_live_line_with_eta_and_losses(config, monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    cfg = config(4)
    cfg["default_hooks"]["progress"] = dict(type="ProgressHook")
    runner = build_runner(cfg)
    runner.register_hook(Patience())
    runner.train()
    line = capsys.readouterr().err
    assert "/4 [" in line
    assert "<" in line  # time so far < time to go
    assert "pairs/s, " in line
    assert "image.a" in line


class Patience(Hook):
    """Makes steps long enough for the live line to be drawn."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        time.sleep(0.12)


def test_without_a_terminal_there_is_no_live_line(config, train, capsys):
    cfg = config(4)
    cfg["default_hooks"]["progress"] = dict(type="ProgressHook")
    train(cfg)
    assert "/4 [" not in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(config, tmp_path, number):
    before = signal.getsignal(number)
    runner = build_runner(config(10))
    runner.register_hook(TinySignals(3, number))
    runner.train()
    stop = hook_of(runner, StopHook)
    assert (runner.iter, stop.signal) == (3, number)
    assert stop.saved == str(tmp_path / "work" / "iter_3.pth")
    assert signal.getsignal(number) == before


def test_what_a_signal_interrupted_goes_on_to_the_bit(config, train, tmp_path):
    train(config(6, work_dir=tmp_path / "whole"))
    runner = build_runner(config(6))
    runner.register_hook(TinySignals(4))
    runner.train()
    train(config(6, resume=True))
    ours, theirs = (torch.load(tmp_path / name / "iter_6.pth")["state_dict"] for name in ("work", "whole"))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_a_signal_waits_for_the_end_of_an_accumulation(config):
    cfg = config(12)
    cfg["optim_wrapper"]["accumulative_counts"] = 4
    runner = build_runner(cfg)
    runner.register_hook(TinySignals(2))
    runner.train()
    assert runner.iter == 4


def test_a_checkpoint_that_was_just_written_is_not_written_again(config, monkeypatch):
    cfg = config(6)
    cfg["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=2)
    runner = build_runner(cfg)
    runner.register_hook(TinySignals(2))
    written = []
    monkeypatch.setattr(runner, "save_checkpoint", lambda out_dir, name, *args, **kwargs: written.append(name))
    runner.train()
    assert written == ["iter_2.pth"]


def test_without_a_checkpoint_hook_a_signal_only_ends_the_run(config):
    cfg = config(6)
    cfg["default_hooks"]["checkpoint"] = None
    runner = build_runner(cfg)
    runner.register_hook(TinySignals(2))
    runner.train()
    assert (runner.iter, hook_of(runner, StopHook).saved) == (2, None)


def test_a_second_signal_ends_at_once():
    hook = StopHook()
    hook._runner = SimpleNamespace(logger=SimpleNamespace(log=lambda *_: None))
    before = signal.getsignal(signal.SIGINT)
    hook._previous = {signal.SIGINT: before}
    signal.signal(signal.SIGINT, hook._note)
    os.kill(os.getpid(), signal.SIGINT)
    assert hook.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) == before  # Python's own: KeyboardInterrupt


def test_the_terminal_is_spared_what_the_file_keeps(config, capsys):
    cfg = config(2, log_level="INFO")
    runner = build_runner(cfg)
    runner.train()
    shown = capsys.readouterr().out
    kept = Path(runner.work_dir, runner.timestamp, f"{runner.timestamp}.log").read_text()
    for text in ("System environment", "Hooks will be executed", "Config:", "FileClient"):
        assert text in kept
        assert text not in shown
    assert "Iter(train) [2/2]" in shown
    assert "Iter(train) [2/2]" in kept
