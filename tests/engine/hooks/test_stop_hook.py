"""Stopping at signals."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from tests.engine.tiny_parts import TinySignals
from x2vlm.engine import build_runner
from x2vlm.engine.hooks.hook_lookup import find_hook
from x2vlm.engine.hooks.stop_hook import StopHook


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_its_step_with_a_checkpoint(config, tmp_path, number):
    before = signal.getsignal(number)
    runner = build_runner(config(10))
    runner.register_hook(TinySignals(3, number))
    runner.train()
    stop = find_hook(runner, StopHook)
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
    assert (runner.iter, find_hook(runner, StopHook).saved) == (2, None)


def test_a_second_signal_ends_at_once():
    hook = StopHook()
    hook._runner = SimpleNamespace(logger=SimpleNamespace(log=lambda *_: None))
    before = signal.getsignal(signal.SIGINT)
    hook._previous = {signal.SIGINT: before}
    signal.signal(signal.SIGINT, hook._note)
    os.kill(os.getpid(), signal.SIGINT)
    assert hook.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) == before  # Python's own: KeyboardInterrupt
