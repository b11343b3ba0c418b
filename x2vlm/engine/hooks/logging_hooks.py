"""What happens beside the steps: averages for the log, throughput, a live line, and stopping in good order."""

import logging
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import is_main_process
from mmengine.hooks import Hook, IterTimerHook, LoggerHook, RuntimeInfoHook
from torch import Tensor
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from x2vlm.distributed import exchange_device, is_distributed, world_size
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.hooks.terminal_log import spare_terminal
from x2vlm.registry import HOOKS


def hook_of(runner: Any, kind: type[Hook]) -> Any:
    """The runner's hook of a class; None if it has none."""
    return next((hook for hook in runner.hooks if isinstance(hook, kind)), None)


@HOOKS.register_module()
class EpochCheckpointHook(CheckpointHook):
    """The CheckpointHook with an interval in epochs of the training loop (``max_epochs``).

    Files are named by iteration all the same, so that ``--resume`` finds them.

    Args:
        interval: Epochs between checkpoints.
        **options: As CheckpointHook's, except ``by_epoch``.
    """

    def __init__(self, interval: int = 1, **options: Any) -> None:
        super().__init__(interval, by_epoch=False, **options)
        self.epochs = interval

    def before_train(self, runner: Any) -> None:
        """Ask the loop how long an epoch is."""
        self.interval = self.epochs * runner.train_loop.epoch_iters
        super().before_train(runner)


@HOOKS.register_module()
class MeanScalarsHook(RuntimeInfoHook):
    """Average every loss between two lines of the log, on the device: no step waits for a number to be printed.

    What is not finite, as in an update that was left out, does not count.
    """

    def before_train(self, runner: Any) -> None:
        """Start with nothing."""
        super().before_train(runner)
        self._sums: dict[tuple[str, ...], Tensor] = {}  # [2, K]: sums, and how many numbers are in them

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Add up; where the log is about to be written, hand over the means."""
        for device, scalars in by_device(outputs or {}).items():
            keys, found = (str(device), *scalars), sums_and_counts(list(scalars.values()))
            self._sums[keys] = found + self._sums[keys] if keys in self._sums else found
        logger = hook_of(runner, LoggerHook)
        if self._sums and (logger is None or self._is_due(runner, batch_idx, logger.interval)):
            for key, mean in means(self._sums).items():
                runner.message_hub.update_scalar(f"train/{key}", mean)
            self._sums = {}

    def _is_due(self, runner: Any, batch_idx: int, interval: int) -> bool:
        return self.every_n_inner_iters(batch_idx, interval) or self.is_last_train_iter(runner)


def by_device(scalars: Mapping[str, Any]) -> dict[torch.device, dict[str, Tensor]]:
    """Detached floats by the device they are on; plain numbers count as tensors of the CPU."""
    found: dict[torch.device, dict[str, Tensor]] = {}
    for key, value in scalars.items():
        value = torch.as_tensor(value).detach().float()
        found.setdefault(value.device, {})[key] = value
    return found


def sums_and_counts(values: list[Tensor]) -> Tensor:
    """``[2, K]``: K numbers, 0 in place of what is not finite, and 1 for each that is."""
    stacked = torch.stack(values)
    finite = stacked.isfinite()
    return torch.stack([torch.where(finite, stacked, 0.0), finite.float()])


def means(sums: Mapping[tuple[str, ...], Tensor]) -> dict[str, float]:
    """The mean for each name, by keys ``(device, *names)`` of sums and counts; names without a number are left out."""
    totals: dict[str, tuple[float, float]] = {}
    for (_, *names), found in sums.items():
        for name, total, count in zip(names, *found.tolist(), strict=True):
            before = totals.get(name, (0.0, 0.0))
            totals[name] = before[0] + total, before[1] + count
    return {name: total / count for name, (total, count) in totals.items() if count}


@HOOKS.register_module()
class ThroughputHook(IterTimerHook):
    """Times and ETA as MMEngine has them, without the time that validation takes; and pairs per second.

    Where steps wait for data, the log says so, once for each of its lines.
    """

    def before_train(self, runner: Any) -> None:
        """Start with nothing."""
        super().before_train(runner)
        self._steps, self._pairs, self._seconds = 0, 0, 0.0

    def _after_epoch(self, runner: Any, mode: str = "train") -> None:
        super()._after_epoch(runner, mode)
        self.t = time.time()  # else the next step would seem to have waited for its data all through validation

    def _after_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None, mode: str = "train"
    ) -> None:
        super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
        if mode != "train":
            return
        self._steps += 1
        self._pairs += sum(len(batch) for batch in data_batch.values()) * world_size()
        self._seconds += runner.message_hub.get_scalar("train/time").current()
        runner.message_hub.update_scalar("train/pairs_per_second", self._pairs / max(self._seconds, 1e-9))
        logger = hook_of(runner, LoggerHook)
        if logger is None or self.every_n_inner_iters(batch_idx, logger.interval):
            loop = runner.train_loop
            if sentence := loop.data_waits.report(loop.streams, self._steps, self._seconds):
                runner.logger.warning(sentence)
            self._steps, self._pairs, self._seconds = 0, 0, 0.0


@HOOKS.register_module()
class ProgressHook(Hook):
    """A live line with iteration, ETA, pairs per second and losses, on a terminal; elsewhere the log lines are all.

    Args:
        width: Most characters of losses to show.
    """

    priority = "LOW"  # after the log has its averages

    def __init__(self, width: int = 100) -> None:
        self.width = width
        self._bar: tqdm | None = None
        self._open = ExitStack()

    def before_train(self, runner: Any) -> None:
        """Open the line, if there is a terminal to draw it on."""
        if not is_main_process() or not sys.stderr.isatty():
            return
        self._bar = self._open.enter_context(
            tqdm(total=runner.max_iters, initial=runner.iter, unit="it", dynamic_ncols=True, leave=False)
        )
        self._open.enter_context(logging_redirect_tqdm([runner.logger]))
        spare_terminal(runner.logger)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Move on; the losses change where the log has new averages."""
        if self._bar is not None:
            self._bar.set_postfix_str(progress_text(runner.message_hub.log_scalars, self.width), refresh=False)
            self._bar.update()

    def after_train(self, runner: Any) -> None:
        """Close the line."""
        self._open.close()
        self._bar = None


def progress_text(scalars: dict[str, Any], width: int) -> str:
    """``"412 pairs/s, loss 3.2, image.itc 1.1"`` from the last logged averages."""
    shown = {key.removeprefix("train/"): history.current() for key, history in scalars.items() if "loss" in key}
    parts = [f"{key.replace('loss_', '')} {value:.3g}" for key, value in shown.items() if not key.startswith("val")]
    if "train/pairs_per_second" in scalars:
        parts.insert(0, f"{scalars['train/pairs_per_second'].current():.0f} pairs/s")
    text = ", ".join(parts)
    return text if len(text) <= width else text[: width - 3] + "..."


@HOOKS.register_module()
class StopHook(Hook):
    """At Ctrl-C (SIGINT) or SIGTERM: finish the step, save a checkpoint, end. A second signal ends at once.

    Args:
        interval: In a run of several processes, every so many iterations they ask each other whether one got a signal.
    """

    priority = "LOWEST"  # after the checkpoint hook, which may have saved this iteration already

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self.signal: int | None = None  # what stopped the run
        self.saved: str | None = None  # the checkpoint it left
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Listen."""
        self._runner = runner
        try:
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # Python lets only the main thread listen
            runner.logger.debug("not in the main thread: signals are left alone")

    def after_train(self, runner: Any) -> None:
        """Give the signals back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """If a signal came: save and end, at the end of an accumulation, whose gradients a checkpoint does not hold."""
        done = runner.iter + 1
        if done % runner.optim_wrapper._accumulative_counts or not self._any_signal(runner, done):
            return
        keeper = hook_of(runner, CheckpointHook)
        if keeper is not None:
            name = keeper.filename_tmpl.format(done)
            if not str(keeper.last_ckpt or "").endswith(name):
                keeper.save_now(runner, done)
            self.saved = keeper.last_ckpt
        runner.train_loop.stop_training = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._previous[number])
        name = signal.Signals(number).name
        text = f"{name}: finishing this step, then saving a checkpoint. Once more to end at once, without saving."
        self._runner.logger.log(logging.WARNING, text)

    def _any_signal(self, runner: Any, done: int) -> bool:
        if not is_distributed():
            return self.signal is not None
        if done % self.interval and done != runner.max_iters:
            return False
        device = exchange_device(next(runner.model.parameters()).device)
        number = torch.tensor(self.signal or 0, device=device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        self.signal = int(number) or None
        return self.signal is not None
