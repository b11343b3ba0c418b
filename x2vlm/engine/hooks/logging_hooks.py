"""Numbers for the log: losses averaged between two lines of it, and times, ETA and throughput."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.hooks import IterTimerHook, LoggerHook, RuntimeInfoHook
from torch import Tensor

from x2vlm.distributed import world_size
from x2vlm.engine.hooks.hook_lookup import find_hook
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class MeanScalarsHook(RuntimeInfoHook):
    """Average every loss between two lines of the log, on the device: no step waits for a number to be printed.

    Values that are not finite, as in an update that was skipped, are left out of the average.
    """

    def before_train(self, runner: Any) -> None:
        """Reset the sums."""
        super().before_train(runner)
        self._sums: dict[tuple[str, ...], Tensor] = {}  # [2, K]: sums and counts, by device and names

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Tensor] | None = None
    ) -> None:
        """Add the scalars of a step; before a line of the log is written, pass the means to the message hub."""
        for device, scalars in by_device(outputs or {}).items():
            keys, sums = (str(device), *scalars), sums_and_counts(list(scalars.values()))
            self._sums[keys] = sums + self._sums[keys] if keys in self._sums else sums
        logger = find_hook(runner, LoggerHook)
        if self._sums and (logger is None or self._is_due(runner, batch_idx, logger.interval)):
            for key, mean in means(self._sums).items():
                runner.message_hub.update_scalar(f"train/{key}", mean)
            self._sums = {}

    def _is_due(self, runner: Any, batch_idx: int, interval: int) -> bool:
        return self.every_n_inner_iters(batch_idx, interval) or self.is_last_train_iter(runner)


def by_device(scalars: Mapping[str, Any]) -> dict[torch.device, dict[str, Tensor]]:
    """Detached float tensors grouped by device; Python numbers become CPU tensors."""
    groups: dict[torch.device, dict[str, Tensor]] = {}
    for key, value in scalars.items():
        value = torch.as_tensor(value).detach().float()
        groups.setdefault(value.device, {})[key] = value
    return groups


def sums_and_counts(values: list[Tensor]) -> Tensor:
    """``[2, K]``: K values with 0 in place of those that are not finite, and 1 for each that is."""
    stacked = torch.stack(values)
    finite = stacked.isfinite()
    return torch.stack([torch.where(finite, stacked, 0.0), finite.float()])


def means(sums: Mapping[tuple[str, ...], Tensor]) -> dict[str, float]:
    """Mean of each name, from sums and counts by ``(device, *names)``; names without a finite value are left out."""
    totals: dict[str, tuple[float, float]] = {}
    for (_, *names), pairs in sums.items():
        for name, total, count in zip(names, *pairs.tolist(), strict=True):
            before = totals.get(name, (0.0, 0.0))
            totals[name] = before[0] + total, before[1] + count
    return {name: total / count for name, (total, count) in totals.items() if count}


@HOOKS.register_module()
class ThroughputHook(IterTimerHook):
    """MMEngine's times and ETA without the time of validation, and pairs per second.

    Where steps wait for data, a warning is logged with the next line of the log.
    """

    def before_train(self, runner: Any) -> None:
        """Reset the counters."""
        super().before_train(runner)
        self._steps, self._pairs, self._seconds = 0, 0, 0.0

    def _after_epoch(self, runner: Any, mode: str = "train") -> None:
        super()._after_epoch(runner, mode)
        self.t = time.time()  # otherwise all of validation would count as data time of the next step

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
        logger = find_hook(runner, LoggerHook)
        if logger is None or self.every_n_inner_iters(batch_idx, logger.interval):
            loop = runner.train_loop
            if sentence := loop.data_waits.report(loop.streams, self._steps, self._seconds):
                runner.logger.warning(sentence)
            self._steps, self._pairs, self._seconds = 0, 0, 0.0
