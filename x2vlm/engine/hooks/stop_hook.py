"""Stop at a signal (Ctrl-C, SIGTERM): finish the step, save a checkpoint, end the training loop."""

import logging
import signal
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from mmengine.hooks import Hook

from x2vlm.distributed import exchange_device, is_distributed
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.hooks.hook_lookup import find_hook
from x2vlm.engine.optim.optim_wrapper import accumulative_counts
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class StopHook(Hook):
    """At SIGINT (Ctrl-C) or SIGTERM: finish the step, save a checkpoint, stop. A second signal ends the process.

    Args:
        interval: In a run of several processes, iterations between two checks whether any of them got a signal.

    Attributes:
        signal: Number of the signal that stopped the run; None if none did.
        saved: The checkpoint that was saved then; None without a CheckpointHook.
    """

    priority = "LOWEST"  # after the checkpoint hook, which may have saved this iteration already

    def __init__(self, interval: int = 10) -> None:
        self.interval = interval
        self.signal: int | None = None
        self.saved: str | None = None
        self._previous: dict[int, Any] = {}

    def before_train(self, runner: Any) -> None:
        """Install the signal handlers."""
        self._runner = runner
        try:
            self._previous = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # Python allows handlers in the main thread only
            runner.logger.debug("not in the main thread: signals are left alone")

    def after_train(self, runner: Any) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """After a signal: save and stop, at the end of an accumulation, as checkpoints hold no gradients."""
        iteration = runner.iter + 1
        if iteration % accumulative_counts(runner.optim_wrapper) or not self._any_signal(runner, iteration):
            return
        checkpoints = find_hook(runner, CheckpointHook)
        if checkpoints is not None:
            if not checkpoints.has_saved(iteration, checkpoints.last_ckpt):
                checkpoints.save_now(runner, iteration)
            self.saved = checkpoints.last_ckpt
        runner.train_loop.stop_training = True

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._previous[number])
        name = signal.Signals(number).name
        text = f"{name}: finishing this step, then saving a checkpoint. Once more to end at once, without saving."
        self._runner.logger.log(logging.WARNING, text)

    def _any_signal(self, runner: Any, iteration: int) -> bool:
        """Whether this process or, every ``interval`` iterations, any other one has got a signal."""
        if not is_distributed():
            return self.signal is not None
        if iteration % self.interval and iteration != runner.max_iters:
            return False
        device = exchange_device(next(runner.model.parameters()).device)
        number = torch.tensor(self.signal or 0, device=device)
        dist.all_reduce(number, dist.ReduceOp.MAX)
        self.signal = int(number) or None
        return self.signal is not None
