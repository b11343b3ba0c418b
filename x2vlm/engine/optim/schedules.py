"""Learning rates over the iterations."""

from math import ceil, cos, pi
from typing import Any

from mmengine.optim.scheduler.param_scheduler import _ParamScheduler

from x2vlm.registry import PARAM_SCHEDULERS


def warmup_linear(step: int, warmup: int, total: int, min_factor: float = 0.0) -> float:
    """Factor of the learning rate at update ``step``, counted from 0.

    From 0 at the first update straight to 1 at update ``warmup``, then straight to ``min_factor`` at ``total`` (which
    is not reached: the last update is ``total - 1``).
    """
    if step < warmup:
        return step / warmup
    return min_factor + (1 - min_factor) * max(0, total - step) / max(1, total - warmup)


def published_floor(step: int, warmup: int, total: int, min_factor: float = 0.0) -> float:
    """The same without a floor; with one, the published line: above 1 just after the warm-up, then down to the floor.

    Differs from :func:`warmup_linear` on purpose; see docs/differences.md#min-lr.
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

    An update is an iteration, or as many as are accumulated: all iterations of one accumulation have one rate. The
    length of the run is not written here: the runner fills in ``end`` from ``max_iters``. Only the number of iterations
    done is kept in checkpoints, so a run that is resumed with another length, warm-up or learning rate follows the new
    ones from there on.

    Args:
        optimizer: Whose learning rates are set; it also says how many iterations are accumulated.
        warmup: Updates (an int), or the share of all updates (a float below 1).
        min_factor: Where the decay ends, as a factor of each learning rate.
        decay: ``straight``: from 1 to ``min_factor``. ``published``: with a floor, the published line, which begins
            above 1; see docs/differences.md#min-lr. ``cosine``: along half a cosine.
        end: Number of iterations of the run.
        by_epoch: Only False is meaningful; MMEngine asks for it.
        param_name: What is scheduled.
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
        self.accumulation: int = getattr(optimizer, "_accumulative_counts", 1)
        self.updates = ceil(end / self.accumulation)
        self.warmup = round(warmup * self.updates) if isinstance(warmup, float) else warmup
        if not 0 <= self.warmup < self.updates:
            raise ValueError(f"a warm-up of {self.warmup} updates does not fit into a run of {self.updates}.")
        self.min_factor, self.factor = min_factor, DECAYS[decay]
        super().__init__(optimizer, param_name, end=end, by_epoch=False)
        optimizer._global_step = 0  # no warning where, with accumulation, the schedule moves before the first update

    def state_dict(self) -> dict[str, int]:
        """How far it is; everything else comes from the config."""
        return {"step": self._global_step}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on from there, and set the learning rates that belong there."""
        self._global_step = state_dict["step"]
        self.last_step = min(self._global_step, self.end - 1)
        self._last_value = self._get_value()
        for group, value in zip(self.optimizer.param_groups, self._last_value, strict=True):
            group[self.param_name] = value

    def _get_value(self) -> list[float]:
        factor = self.factor(self.last_step // self.accumulation, self.warmup, self.updates, self.min_factor)
        return [value * factor for value in self.base_values]
