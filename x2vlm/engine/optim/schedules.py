"""Learning rate schedules: linear warm-up and linear decay, by updates."""

from math import ceil, cos, pi
from typing import Any

from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from x2vlm.engine.optim.optim_wrapper import accumulative_counts
from x2vlm.registry import PARAM_SCHEDULERS


def warmup_linear(step: int, warmup: int, total: int, min_factor: float = 0.0) -> float:
    """Factor of the learning rate at update ``step``, counted from 0.

    Linear from 0 at the first update to 1 at update ``warmup``, then linear to ``min_factor`` at ``total`` (one past
    the last update).
    """
    if step < warmup:
        return step / warmup
    return min_factor + (1 - min_factor) * max(0, total - step) / max(1, total - warmup)


def published_floor(step: int, warmup: int, total: int, min_factor: float = 0.0) -> float:
    """Factor of the published schedule: as :func:`warmup_linear` if ``min_factor`` is 0.

    With a floor it starts above 1 just after the warm-up, then falls linearly to ``min_factor``; see
    docs/differences.md#min-lr.
    """
    if step < warmup:
        return step / warmup
    return max(min_factor, (total - (1 - min_factor) * step) / max(1, total - warmup))


def warmup_cosine(step: int, warmup: int, total: int, min_factor: float = 0.0) -> float:
    """As :func:`warmup_linear`, but down to ``min_factor`` along half a cosine (arXiv:1608.03983v5, Eq. (5))."""
    if step < warmup:
        return step / warmup
    share = min(1.0, (step - warmup) / max(1, total - warmup))
    return min_factor + (1 - min_factor) * (1 + cos(pi * share)) / 2


DECAYS = {"straight": warmup_linear, "published": published_floor, "cosine": warmup_cosine}


@PARAM_SCHEDULERS.register_module()
class WarmupLinear(_ParamScheduler):
    """Linear warm-up from 0, then linear decay (or half a cosine), by updates of the weights (the published schedule).

    All iterations of one gradient accumulation are one update and have one rate. The runner fills in ``end`` from
    ``max_iters``. Checkpoints hold only the number of iterations, so a run that is resumed with another length, warm-up
    or learning rate follows the new ones from there on.

    Args:
        optimizer: Optimizer wrapper whose learning rates are set; its accumulation defines an update.
        warmup: Updates (an int), or the fraction of all updates (a float below 1).
        min_factor: Final factor of each learning rate.
        decay: ``straight``: from 1 to ``min_factor``. ``published``: with a floor, the published formula, which starts
            above 1; see docs/differences.md#min-lr. ``cosine``: half a cosine.
        end: Number of iterations of the run.
        by_epoch: Must be False; part of MMEngine's interface.
        param_name: Key of the parameter groups that is scheduled.
    """

    def __init__(
        self,
        optimizer: Any,
        warmup: int | float = 0,
        min_factor: float = 0.0,
        decay: str = "straight",
        end: int = 0,
        by_epoch: bool = False,
        param_name: str = "lr",
    ) -> None:
        if by_epoch:
            raise ValueError("WarmupLinear counts iterations: by_epoch must be False.")
        if isinstance(warmup, float) and not 0 <= warmup < 1:
            raise ValueError(f"warmup={warmup}: a float is a share of all updates, below 1. Updates are an int.")
        if decay not in DECAYS:
            raise ValueError(f"decay='{decay}' is not known. Accepted: {', '.join(DECAYS)}.")
        self.accumulation = accumulative_counts(optimizer)
        self.updates = ceil(end / self.accumulation)
        self.warmup = round(warmup * self.updates) if isinstance(warmup, float) else warmup
        if not 0 <= self.warmup < self.updates:
            raise ValueError(f"a warm-up of {self.warmup} updates does not fit into a run of {self.updates}.")
        self.min_factor, self.factor = min_factor, DECAYS[decay]
        super().__init__(optimizer, param_name, end=end, by_epoch=False)
        optimizer._global_step = 0  # no warning where, with accumulation, the schedule steps before the first update

    def state_dict(self) -> dict[str, int]:
        """The number of steps; everything else comes from the config."""
        return {"step": self._global_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue from a number of steps, and set the learning rates of that step."""
        self._global_step = state_dict["step"]
        self.last_step = min(self._global_step, self.end - 1)
        self._last_value = self._get_value()
        for group, value in zip(self.optimizer.param_groups, self._last_value, strict=True):
            group[self.param_name] = value

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step // self.accumulation, self.warmup, self.updates, self.min_factor)
        return [value * factor for value in self.base_values]
