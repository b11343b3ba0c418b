"""Save the last finished step when a run fails, and the sentence that says which checkpoint to resume from."""

from typing import Any

from x2vlm.distributed import is_sharded, rank
from x2vlm.engine.checkpoint.atomic_save import SaveError
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.hooks.hook_lookup import find_hook
from x2vlm.engine.optim.optim_wrapper import accumulative_counts


def save_last_step(runner: Any) -> str:
    """Save the state after the last finished step, if one process can; returns a sentence about the checkpoint."""
    hook, iteration, before = find_hook(runner, CheckpointHook), runner.iter, describe_last_checkpoint(runner)
    sharded = any(is_sharded(parameter) for parameter in runner.model.parameters())
    # One process cannot save sharded weights, and a checkpoint holds no gradients of an unfinished accumulation.
    inside_accumulation = iteration % accumulative_counts(runner.optim_wrapper)
    if hook is None or not iteration or rank() or sharded or inside_accumulation:
        return before
    if not hook.has_saved(iteration, hook.last_ckpt or runner.loaded_from):
        try:
            hook.save_now(runner, iteration)
        except SaveError as error:
            return f"{error} {before}"
    return f"{hook.filename_tmpl.format(iteration)} is saved, with all steps up to here; go on from it with --resume."


def last_checkpoint(runner: Any) -> str | None:
    """The checkpoint that was saved last, else the one that was loaded; None without."""
    hook = find_hook(runner, CheckpointHook)
    return (hook and hook.last_ckpt) or runner.loaded_from


def describe_last_checkpoint(runner: Any) -> str:
    """The sentence that says which checkpoint a failed run can be resumed from."""
    last = last_checkpoint(runner) if find_hook(runner, CheckpointHook) else None
    return f"The last checkpoint is {last}; go on from it with --resume." if last else "There is no checkpoint."
