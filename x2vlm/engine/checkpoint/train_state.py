"""Checkpoints: plain tensors and numbers, so that loading one cannot run code; and the place where the data goes on."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.model import is_model_wrapper
from torch import nn

from x2vlm.engine.checkpoint.integrity import damage, set_aside
from x2vlm.registry import HOOKS
from x2vlm.weights.weight_files import CheckpointError, read_entry, state_of

LOOP_KEY = "x2vlm_loop"
FRESH_KEY = "x2vlm_fresh"
_HISTORY = "history"
_KEPT = 10_000  # entries of each logged number: enough for every average that is printed


@HOOKS.register_module()
class TrainStateHook(Hook):
    """Write MMEngine's log history as plain tensors, and the training loop's own state beside it.

    MMEngine pickles its history as objects, which ``torch.load`` refuses unless it is allowed to run code.
    """

    priority = "VERY_LOW"

    def before_save_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Make the checkpoint plain, and add the state of the loop."""
        checkpoint["message_hub"] = to_plain(checkpoint["message_hub"])
        checkpoint[LOOP_KEY] = runner.train_loop.state_dict()
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if hasattr(model, "fresh_parameters"):  # which decided the optimizer's groups
            checkpoint[FRESH_KEY] = sorted(model.fresh_parameters())

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Bring the history back; when resuming, the loop's state too."""
        if "message_hub" in checkpoint:
            checkpoint["message_hub"] = from_plain(checkpoint["message_hub"])
        if runner._resume and LOOP_KEY in checkpoint:
            runner.train_loop.load_state_dict(checkpoint[LOOP_KEY])


def recall_fresh(model: nn.Module, checkpoint: str | Path) -> None:
    """Tell a model which parameters were new when a checkpoint's run began, so that the groups are the same."""
    names = read_entry(checkpoint, FRESH_KEY)
    if names is not None and hasattr(model, "set_fresh_parameters"):
        model.set_fresh_parameters(names)


def load_same(model: nn.Module, content: Mapping[str, Any], source: str | Path) -> None:
    """Load the state dict of a run into the very same model.

    Raises:
        CheckpointError: If a name or a shape differs.
    """
    try:
        model.load_state_dict(state_of(content, source))
    except RuntimeError as error:  # how torch reports names and shapes that differ
        raise CheckpointError(
            f"{source} does not fit this config's model: a run goes on with the config it was begun with.\n{error}"
        ) from error


def to_plain(value: Any) -> Any:
    """The same value without objects: histories become dicts of tensors, NumPy numbers become Python's."""
    if isinstance(value, HistoryBuffer):
        log, count = (torch.from_numpy(np.array(array[-_KEPT:])) for array in value.data)
        return {_HISTORY: {"log": log, "count": count, "max_length": value.max_length}}
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_plain(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value


def from_plain(value: Any) -> Any:
    """What :func:`to_plain` was given; histories are complete again."""
    if isinstance(value, Mapping):
        if set(value) == {_HISTORY}:
            history = value[_HISTORY]
            return HistoryBuffer(history["log"].tolist(), history["count"].tolist(), history["max_length"])
        return {key: from_plain(item) for key, item in value.items()}
    return value


def checkpoints_in(work_dir: str | Path) -> list[Path]:
    """The checkpoints that training left in a folder, by iteration, best ones not included."""
    return sorted((path for path in Path(work_dir).glob("iter_*.pth") if iterations_of(path) >= 0), key=iterations_of)


def iterations_of(checkpoint: Path) -> int:
    """``iter_500.pth`` -> 500; -1 where the name does not say."""
    number = re.fullmatch(r"iter_(\d+)", checkpoint.stem)
    return int(number[1]) if number else -1


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint to go on from: that of the highest iteration, else the one that ``last_checkpoint`` names."""
    there = resumable(work_dir)
    return there[0] if there else None


def resumable(work_dir: str | Path) -> list[Path]:
    """All checkpoints to go on from, the latest first; where ``CheckpointHook`` has an ``out_dir``, those in there."""
    there = checkpoints_in(work_dir)
    note = Path(work_dir) / "last_checkpoint"
    named = Path(note.read_text().strip()) if note.is_file() else None
    if not there and named is not None and named.name:
        beside = Path(work_dir) / named.name  # a name of the user's own; the folder may have been moved
        named = beside if beside.exists() else named
        there = checkpoints_in(named.parent) or ([named] if named.exists() else [])
    return there[::-1]


def newest_whole(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that has not been damaged; newer ones are set aside. And what there is to tell of them.

    Raises:
        CheckpointError: If there are checkpoints, and all of them are damaged.
    """
    there = resumable(work_dir)
    damaged: list[tuple[Path, str]] = []
    for path in there:
        problem = damage(path)
        if problem is None:
            told = [f"{bad} is damaged ({why}). It is now {set_aside(bad).name}." for bad, why in damaged]
            return path, [f"{sentence} Going on from {path.name}, the one before it." for sentence in told]
        damaged.append((path, problem))
    if damaged:
        lines = "\n".join(f"  {path}: {problem}" for path, problem in damaged)
        raise CheckpointError(
            f"all checkpoints to go on from are damaged:\n{lines}\nNothing was changed. Get one of them from a copy; "
            "or begin again in another folder: --work-dir DIR."
        )
    return None, []
