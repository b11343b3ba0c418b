"""Exponential moving average of the weights, sharded where the weights are."""

from typing import Any

from mmengine import hooks
from mmengine.registry import MODELS
from torch import nn

from x2vlm.engine.distributed.fsdp import FullySharded
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.registry import HOOKS


@HOOKS.register_module()
class EMAHook(hooks.EMAHook):
    """MMEngine's EMAHook, whose average is sharded where the model is (FSDP).

    Args:
        **options: As MMEngine's: ``ema_type``, ``momentum``, ``begin_iter``, ``update_buffers``, ...
    """

    def before_run(self, runner: Any) -> None:
        """Initialise the average with the weights."""
        self.src_model = unwrap_model(runner.model)
        sharded = isinstance(runner.model, FullySharded)
        model = clone_parameters(self.src_model) if sharded else self.src_model
        self.ema_model = MODELS.build(self.ema_cfg, default_args={"model": model})


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
