"""State of the training loop in checkpoints, and log history as plain tensors (loadable with ``weights_only``)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer

from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.registry import HOOKS

LOOP_KEY = "x2vlm_loop"
FRESH_KEY = "x2vlm_fresh"
_HISTORY = "history"
_MAX_HISTORY = 10_000  # entries of each logged number: enough for every average that is printed


@HOOKS.register_module()
class TrainStateHook(Hook):
    """Save the training loop's state, and MMEngine's log history as plain tensors.

    MMEngine pickles its history as objects, which ``torch.load`` refuses with ``weights_only=True``.
    """

    priority = "VERY_LOW"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Convert the history, and add the state of the loop and the names of fresh parameters."""
        checkpoint["message_hub"] = to_plain(checkpoint["message_hub"])
        checkpoint[LOOP_KEY] = runner.train_loop.state_dict()
        model = unwrap_model(runner.model)
        if hasattr(model, "fresh_parameters"):  # they decide the optimizer's groups
            checkpoint[FRESH_KEY] = sorted(model.fresh_parameters())

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Convert the history back; when resuming, restore the loop's state."""
        if "message_hub" in checkpoint:
            checkpoint["message_hub"] = from_plain(checkpoint["message_hub"])
        if runner._resume and LOOP_KEY in checkpoint:
            runner.train_loop.load_state_dict(checkpoint[LOOP_KEY])


def to_plain(value: Any) -> Any:
    """Nested values without objects: histories become dicts of tensors, NumPy numbers Python's."""
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(np.array(array[-_MAX_HISTORY:])) for array in value.data)
        return {_HISTORY: {"log": log, "count": count, "max_length": value.max_length}}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def from_plain(value: Any) -> Any:
    """The inverse of :func:`to_plain`: rebuilds histories."""
    if isinstance(value, Mapping):
        if set(value) == {_HISTORY}:
            history = value[_HISTORY]
            return HistoryBuffer(history["log"].tolist(), history["count"].tolist(), history["max_length"])
        return {key: from_plain(item) for key, item in value.items()}
    return value
