"""When a run will be done."""

import re
from datetime import datetime
from types import SimpleNamespace

import pytest

from x2vlm.engine import build_runner
from x2vlm.engine.hooks import finish_time
from x2vlm.engine.hooks.finish_time import FinishTimeHook, finish_sentence

NOON = datetime(2026, 11, 28, 12, 0)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (540, "done at about 12:09, in 9 minutes."),
        (60, "done at about 12:01, in a minute."),
        (20, "done at about 12:00, in 20 seconds."),
        (13 * 3600, "done at about 2026-11-29 01:00, in 780 minutes."),
    ],
)
def test_the_sentence_names_the_clock_and_what_is_left(seconds, told):
    assert finish_sentence(70, 700, seconds, NOON) == f"70 of 700 iterations: {told}"


def test_iterations_and_evaluations_to_come_are_counted(monkeypatch):
    clock, told = [0.0], []
    monkeypatch.setattr(finish_time.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(finish_time, "finish_sentence", lambda i, total, seconds, now: told.append((i, seconds)))
    logger = SimpleNamespace(info=lambda text: None)
    runner = SimpleNamespace(
        iter=0, max_iters=40, logger=logger, train_loop=SimpleNamespace(val_interval=10, val_begin=1)
    )
    hook = FinishTimeHook(first=5, times=2)
    hook.before_train(runner)
    for iteration in range(40):
        runner.iter = iteration
        clock[0] += 2.0
        hook.after_train_iter(runner, iteration)
        if (iteration + 1) % 10 == 0:
            hook.before_val(runner)
            clock[0] += 7.0
            hook.after_val(runner)
    # After 5: no evaluation has been timed yet. After 20: 20 iterations and three evaluations, of which one now.
    assert told == [(5, pytest.approx(70.0)), (20, pytest.approx(40.0 + 3 * 7.0))]


def test_a_run_tells_it_in_its_log(config, tmp_path):
    cfg = config(12)
    cfg["default_hooks"]["finish"] = dict(type="FinishTimeHook", first=2, times=3)
    cfg["log_level"] = "INFO"
    build_runner(cfg).train()
    (log,) = tmp_path.rglob("*.log")
    told = re.findall(r"(\d+) of 12 iterations: done at about .*\d\d:\d\d, in .+\.", log.read_text())
    assert told == ["2", "4", "8"]


def test_counts_are_from_one():
    with pytest.raises(ValueError, match="times=0"):
        FinishTimeHook(times=0)
