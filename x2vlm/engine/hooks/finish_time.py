"""When a run will be done, by the clock: told in the log soon after it began, and at every tenth of it."""

import time
from datetime import datetime, timedelta
from typing import Any

from mmengine.hooks import Hook

from x2vlm.registry import HOOKS


@HOOKS.register_module()
class FinishTimeHook(Hook):
    """Log when the training will be done.

    The time of an iteration is the mean since the start (or the resumption); evaluations to come count as long as the
    last one took.

    Args:
        first: Iterations after which it is told for the first time.
        times: How often it is told in the course of the run, besides.
    """

    priority = "LOW"

    def __init__(self, first: int = 10, times: int = 10) -> None:
        if min(first, times) < 1:
            raise ValueError(f"first={first} and times={times} are counts from 1.")
        self.first, self.times = first, times

    def before_train(self, runner: Any) -> None:
        """Start the clock."""
        self._begun, self._start, self._evaluating, self._last = runner.iter, time.perf_counter(), 0.0, 0.0

    def before_val(self, runner: Any) -> None:
        """Start the clock of an evaluation."""
        self._evaluation = time.perf_counter()

    def after_val(self, runner: Any) -> None:
        """Take the time of an evaluation apart."""
        self._last = time.perf_counter() - self._evaluation
        self._evaluating += self._last

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Log the time at which the run will be done."""
        iteration, total = runner.iter + 1, runner.max_iters
        done = iteration - self._begun
        is_due = done == self.first or iteration % max(1, total // self.times) == 0
        if not is_due or iteration >= total:
            return
        pace = (time.perf_counter() - self._start - self._evaluating) / done
        loop = runner.train_loop
        # That of this iteration, if one is due, comes after this hook.
        passed = (max(iteration, loop.val_begin) - 1) // loop.val_interval
        evaluations = -(-total // loop.val_interval) - passed
        seconds = pace * (total - iteration) + self._last * evaluations
        runner.logger.info(finish_sentence(iteration, total, seconds, datetime.now()))


def finish_sentence(iteration: int, total: int, seconds: float, now: datetime) -> str:
    """``"70 of 700 iterations: done at about 18:45, in 9 minutes."``."""
    minutes = seconds / 60
    left = f"{minutes:.0f} minutes" if minutes >= 1.5 else "a minute" if minutes >= 0.5 else f"{seconds:.0f} seconds"
    clock = now + timedelta(seconds=seconds)
    day = "" if clock.date() == now.date() else f"{clock:%Y-%m-%d} "
    return f"{iteration} of {total} iterations: done at about {day}{clock:%H:%M}, in {left}."
