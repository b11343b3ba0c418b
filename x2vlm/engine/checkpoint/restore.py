"""Restoring a run: its checkpoint read and sharded like the model, weights loaded strictly, fresh parameters named."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from x2vlm.distributed import shard_like
from x2vlm.engine.checkpoint.loop_state import FRESH_KEY
from x2vlm.engine.distributed.fsdp import FullySharded
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.read_weights import read_checkpoint, read_entry, state_of
from x2vlm.weights.sharded_checkpoint import is_sharded_checkpoint, read_sharded_checkpoint


def read_run(filename: str | Path, model: nn.Module) -> dict[str, Any]:
    """The content of a run's checkpoint, a file or a sharded folder, with weights sharded like the model's.

    Args:
        filename: The checkpoint.
        model: The model, wrapped.

    Raises:
        CheckpointError: If it cannot be read, or is of no run.
    """
    if isinstance(model, FullySharded) and is_sharded_checkpoint(filename):
        return read_sharded_checkpoint(filename, model.mesh)
    content = read_checkpoint(filename)
    meta = content.get("meta")
    done = meta.get("iter") if isinstance(meta, Mapping) else None
    if not isinstance(done, int) or done < 0:
        raise CheckpointError(
            f"{filename} does not say how far its run had come, as a run's checkpoint does: it may hold weights alone. "
            f"To begin a new run from them: --cfg-options load_from={filename}"
        )
    return shard_weights(content, model)


def shard_weights(content: dict[str, Any], model: nn.Module) -> dict[str, Any]:
    """A checkpoint's content with full weights sharded where the model is; the optimizer wrapper shards its own state.

    Args:
        content: Changed in place.
        model: The model, wrapped.
    """
    if not isinstance(model, FullySharded):
        return content
    like = unwrap_model(model).state_dict()
    for key in ("state_dict", "ema_state_dict"):
        if key in content:
            weights = content[key].items()
            content[key] = {k: shard_like(v, like.get(k.removeprefix("module."), v)) for k, v in weights}
    return content


def load_strictly(model: nn.Module, content: Mapping[str, Any], source: str | Path) -> None:
    """Load the weights of a run into the same model.

    Raises:
        CheckpointError: If a name or a shape differs.
    """
    try:
        model.load_state_dict(state_of(content, source))
    except RuntimeError as error:  # how torch reports names and shapes that differ
        raise CheckpointError(
            f"{source} does not fit this config's model: a run goes on with the config it was begun with.\n{error}"
        ) from error


def refuse_average(content: Mapping[str, Any], source: str | Path) -> None:
    """For a run that keeps no average of its weights: what such a run left has the average as its weights.

    Raises:
        CheckpointError: If the checkpoint holds an average.
    """
    if "ema_state_dict" in content:
        raise CheckpointError(
            f"{source} holds an average of the weights (EMA), which this config does not keep: its weights are the "
            "average. Resume with the EMAHook of its run, or begin a new run from the average: load_from."
        )


def restore_fresh_parameters(model: nn.Module, checkpoint: str | Path) -> None:
    """Name the parameters that were new when a checkpoint's run began, so that the optimizer's groups are the same."""
    names = read_entry(checkpoint, FRESH_KEY)
    if names is not None and hasattr(model, "set_fresh_parameters"):
        model.set_fresh_parameters(names)
