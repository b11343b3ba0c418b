"""What a metric must give, and what it will call: known before a run begins, not after hours of training."""

from collections.abc import Mapping
from numbers import Number
from typing import Any

import numpy as np
from torch import Tensor

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
    for wanted, methods in metric.called_methods(list(objectives)).items():
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


def result_problem(result: Any) -> str:
    """What is wrong with what ``evaluate`` returned, as the end of a sentence; empty where nothing is."""
    wanted = "expected a dict of numbers by name, such as {'recall@1': 0.4}."
    if not isinstance(result, Mapping):
        return f"{type(result).__name__}; {wanted}"
    for key, value in result.items():
        if isinstance(value, (Tensor, np.ndarray)) and value.size and np.prod(value.shape) == 1:
            continue
        if not isinstance(value, Number):
            return f"{type(value).__name__} as '{key}'; {wanted}"
    return ""
