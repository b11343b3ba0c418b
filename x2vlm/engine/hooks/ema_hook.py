"""Exponential moving average of the weights, sharded where the weights are."""

from collections.abc import Mapping
from typing import Any

from mmengine import hooks
from mmengine.registry import MODELS
from torch import nn

from x2vlm.engine.distributed.fsdp import FullySharded
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.registry import HOOKS
from x2vlm.weights.read_weights import CheckpointError


@HOOKS.register_module()
class EMAHook(hooks.EMAHook):
    """MMEngine's EMAHook, whose average is sharded where the model is (FSDP).

    Arguments are MMEngine's: ``ema_type``, ``momentum``, ``begin_iter``, ``update_buffers``, ...
    """

    def before_run(self, runner: Any) -> None:
        """Initialise the average with the weights."""
        self.src_model = unwrap_model(runner.model)
        sharded = isinstance(runner.model, FullySharded)
        model = clone_parameters(self.src_model) if sharded else self.src_model
        self.ema_model = MODELS.build(self.ema_cfg, default_args={"model": model})

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Restore the average of a checkpoint by name, or initialise it with the checkpoint's weights.

        Raises:
            CheckpointError: When resuming, if a name or a shape of the average differs from the model's.
        """
        if runner._resume and "ema_state_dict" in checkpoint:
            check_average(checkpoint["ema_state_dict"], self.ema_model.state_dict())
        super().after_load_checkpoint(runner, checkpoint)


def check_average(saved: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuse the average of other weights.

    Raises:
        CheckpointError: If a name or a shape differs.
    """
    problems = [f"it lacks {name}" for name in wanted if name not in saved]
    problems += [f"it has {name}, which this config's has not" for name in saved if name not in wanted]
    shapes = {name: (tuple(saved[name].shape), tuple(wanted[name].shape)) for name in wanted if name in saved}
    problems += [f"{name} is {old}, this config's {new}" for name, (old, new) in shapes.items() if old != new]
    if problems:
        more = f", and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise CheckpointError(
            f"the average of the weights (EMA) in the checkpoint does not fit this config's model: "
            f"{'; '.join(problems[:4])}{more}. A run goes on with the config it was begun with."
        )


def clone_parameters(module: nn.Module, clones: dict[nn.Parameter, nn.Parameter] | None = None) -> nn.Module:
    """A module tree of copied parameters and buffers under the same names, without a forward pass.

    Sharded models cannot be deep-copied.

    Args:
        module: What is copied.
        clones: Parameters copied so far, with their copies: a parameter with two names (tied) is copied once.
    """
    clones = {} if clones is None else clones
    cloned = nn.Module()
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter not in clones:
            clones[parameter] = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
        cloned.register_parameter(name, clones.get(parameter))
    for name, buffer in module._buffers.items():
        copied = None if buffer is None else buffer.clone()
        cloned.register_buffer(name, copied, persistent=name not in module._non_persistent_buffers_set)
    for name, child in module.named_children():
        cloned.add_module(name, clone_parameters(child, clones))
    return cloned
