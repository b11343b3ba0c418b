"""Progress bar on a terminal: iteration, ETA, pairs per second and losses."""

import sys
from contextlib import ExitStack
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from x2vlm.engine.hooks.terminal_log import filter_terminal_log
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Show a progress bar on a terminal; elsewhere it does nothing.

    Args:
        width: Maximum number of characters for losses.
    """

    priority = "LOW"  # after the hook that averages losses

    def __init__(self, width: int = 100) -> None:
        self.width = width
        self._bar: tqdm | None = None
        self._open = ExitStack()

    def before_train(self, runner: Any) -> None:
        """Open the bar, if standard error is a terminal."""
        if not is_main_process() or not sys.stderr.isatty():
            return
        self._bar = self._open.enter_context(
            tqdm(total=runner.max_iters, initial=runner.iter, unit="it", dynamic_ncols=True, leave=False)
        )
        self._open.enter_context(logging_redirect_tqdm([runner.logger]))
        filter_terminal_log(runner.logger)

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Advance the bar; losses are the last logged averages."""
        if self._bar is not None:
            self._bar.set_postfix_str(progress_text(runner.message_hub.log_scalars, self.width), refresh=False)
            self._bar.update()

    def after_train(self, runner: Any) -> None:
        """Close the bar."""
        self._open.close()
        self._bar = None


def progress_text(scalars: dict[str, Any], width: int) -> str:
    """``"412 pairs/s, loss 3.2, image.itc 1.1"`` from the last logged averages, at most ``width`` characters."""
    losses = {key.removeprefix("train/"): history.current() for key, history in scalars.items() if "loss" in key}
    shown = [f"{key.replace('loss_', '')} {value:.3g}" for key, value in losses.items() if not key.startswith("val")]
    if "train/pairs_per_second" in scalars:
        shown.insert(0, f"{scalars['train/pairs_per_second'].current():.0f} pairs/s")
    text = ", ".join(shown)
    return text if len(text) <= width else text[: width - 3] + "..."
