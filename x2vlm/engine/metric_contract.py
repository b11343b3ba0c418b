"""What a metric must give, and what it will call: known before a run begins, not after hours of training."""

from collections.abc import Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from torch import Tensor, nn

from x2vlm.building import ConfigError, suggestion


def check_calls(metric: Any, model: Any, path: str) -> None:
    """Refuse a metric whose evaluation would call what the model's objectives have not.

    Args:
        metric: Says by ``called_methods(objectives) -> {objective: methods}`` what it calls; one that says nothing is
            not looked at.
        model: The model, with ``objectives`` by name.
        path: Where the metric stands in the config.

    Raises:
        ConfigError: If an objective or one of its methods is missing.
    """
    objectives = getattr(model, "objectives", None)
    if objectives is None or not hasattr(metric, "called_methods"):
        return
    name = type(metric).__name__
    for wanted, methods in _called_methods(metric, list(objectives), path).items():
        if wanted not in objectives:
            listed = ", ".join(objectives) or "none"
            raise ConfigError(
                f"{name} asks objective '{wanted}', and this model's objectives are: {listed}."
                f"{suggestion(wanted, objectives)} Add it, or let the metric do without.",
                path,
            )
        lacking = [method for method in methods if not hasattr(objectives[wanted], method)]
        if lacking:
            raise ConfigError(
                f"{name} calls {', '.join(f'{method}()' for method in lacking)} of model.objectives.{wanted}, which "
                f"{type(objectives[wanted]).__name__} has not. docs/plugins.md says what evaluations call.",
                path,
            )


def _called_methods(metric: Any, objectives: list[str], path: str) -> Mapping[str, tuple[str, ...]]:
    title = f"{type(metric).__name__}.called_methods"
    wanted = "expected methods by objective, such as {'itm': ('score',)}."
    try:
        found = metric.called_methods(objectives)
    except TypeError as error:
        raise ConfigError(f"{title} is called with a list of objectives: {error}.", path) from error
    if not isinstance(found, Mapping) or not all(isinstance(names, (tuple, list)) for names in found.values()):
        raise ConfigError(f"{title} returned {found!r}; {wanted}", path)
    return found


def result_problem(result: Any) -> str:
    """What is wrong with what ``evaluate`` returned, as the end of a sentence; empty where nothing is."""
    wanted = "expected a dict of numbers by name, such as {'recall@1': 0.4}."
    if not isinstance(result, Mapping):
        return f"{type(result).__name__}; {wanted}"
    for key, value in result.items():
        if not isinstance(key, str):
            return f"{key!r} as the name of a number; {wanted}"
        if not _is_real(value):
            return f"{type(value).__name__} as '{key}'; {wanted}"
    return ""


def _is_real(value: Any) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return bool(np.prod(value.shape) == 1) and isinstance(value.reshape(-1)[0].item(), Real)
    return isinstance(value, Real)


def nan_warning(metric: Any, result: Mapping[str, Any]) -> str:
    """A sentence about numbers that are NaN or infinite; empty where there are none."""
    wrong = [f"{key}={float(value)}" for key, value in result.items() if not isfinite(float(value))]
    if not wrong:
        return ""
    return (
        f"{type(metric).__name__}.evaluate returned {', '.join(wrong)}, by which no two runs can be compared: leave a "
        "number out where there is nothing to measure; else look at the losses."
    )


def state_of(model: nn.Module) -> dict[str, tuple[int, bool]]:
    """How often each parameter and buffer was written to, and whether it is trained: what a metric leaves as it is."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {name: (tensor._version, tensor.requires_grad) for name, tensor in tensors if not tensor.is_inference()}


def state_problem(metric: Any, model: nn.Module, before: Mapping[str, tuple[int, bool]]) -> str:
    """A sentence if a metric left the model otherwise than it came, as training goes on with it; else empty.

    Args:
        metric: The metric.
        model: The model after ``evaluate``.
        before: Its :func:`state_of` before; what is not in it is not looked at.
    """
    title = f"{type(metric).__name__}.evaluate"
    if any(module.training for module in model.modules()):
        return (
            f"{title} left the model in training mode, in which the next evaluation would run it. The model comes in "
            "evaluation mode: leave out model.train()."
        )
    changed = [name for name, state in state_of(model).items() if before.get(name, state) != state]
    if not changed:
        return ""
    kind = "parameter(s)" if changed[0] in dict(model.named_parameters()) else "buffer(s)"
    return (
        f"{title} changed {len(changed)} {kind} of the model, such as {changed[0]}, or whether it is trained. "
        "Training goes on with this model: change a copy, copy.deepcopy(model)."
    )
