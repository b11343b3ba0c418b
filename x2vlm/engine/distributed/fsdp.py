"""Fully sharded training: every process holds a part of the weights, of their gradients and of the optimizer's state.

Torch's FSDP2 gathers the weights of a unit when it is called, and lets go of them afterwards. The units are the layers
of the towers and of the answer decoder; what is in no layer (embeddings, projections, heads, with them words that a
head shares with the embeddings) is one unit more, which is gathered for the whole step. Where a layer's weights are
used by other methods than ``forward``, its attribute ``forward_methods`` names these.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from mmengine import hooks
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.registry import MODELS
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from x2vlm.models.layers.blocks import layers_of
from x2vlm.registry import HOOKS, MODEL_WRAPPERS

GATHERED = {"fp32": None, "bf16": torch.bfloat16}


@MODEL_WRAPPERS.register_module()
class FullySharded(nn.Module):
    """A model whose weights are spread over all processes (FSDP2), for ``model_wrapper_cfg``.

    Gradients are averaged over processes after every backward pass. Losses, gradients and updates are those of
    ``MMDistributedDataParallel``, with ``gather="fp32"``.

    Args:
        module: The model, initialised, the same in every process; it is changed in place.
        gather: ``fp32``, or ``bf16`` to send weights (not gradients) in half the bytes: everything, also norms and
            embeddings, is computed with rounded weights then. For runs with ``precision="bf16"``.

    Raises:
        ValueError: If ``gather`` is unknown.
    """

    def __init__(self, module: nn.Module, gather: str = "fp32") -> None:
        super().__init__()
        if gather not in GATHERED:
            raise ValueError(f"gather is {gather!r}. Accepted: {', '.join(GATHERED)}.")
        # A layer's keys and values are views, of which torch says that they must not be changed in place; nobody does.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        device = torch.device(get_device())
        policy = MixedPrecisionPolicy(
            GATHERED[gather], reduce_dtype=torch.float32, output_dtype=None, cast_forward_inputs=False
        )
        self.mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        options = {"mesh": self.mesh, "mp_policy": policy}
        _make_equal(module, device)
        for unit in layers_of(module):
            fully_shard(unit, **options)
            for name in getattr(unit, "forward_methods", ()):
                register_fsdp_forward_method(unit, name)
        scalars = {parameter for parameter in module.parameters() if parameter.dim() == 0}
        for scalar in scalars:  # which cannot be split: every process has them, and their gradients are averaged
            if scalar.requires_grad:
                scalar.register_post_accumulate_grad_hook(_average_gradient)
        self.module = fully_shard(module, ignored_params=scalars, **options)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the model gives."""
        return self.module(*args, **kwargs)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Inside, every process has all weights, so each may call any method of the model, as often as it likes."""
        # Else the first layer to be called would take itself for the outermost unit.
        self.module._get_fsdp_state()._lazy_init()
        sharded = [module for module in self.module.modules() if isinstance(module, FSDPModule)]
        for unit in sharded:
            unit.set_reshard_after_forward(False, recurse=False)
            unit.unshard()
        try:
            yield
        finally:
            for unit in sharded:
                unit.set_reshard_after_forward(unit is not self.module, recurse=False)
                unit.reshard()


def gathered(model: nn.Module) -> AbstractContextManager:
    """:meth:`FullySharded.gathered` of a sharded model; nothing is to be done for any other."""
    return model.gathered() if isinstance(model, FullySharded) else nullcontext()


def is_sharding(model_wrapper_cfg: Mapping[str, Any] | None) -> bool:
    """Whether the config of a wrapper means :class:`FullySharded`."""
    kind = (model_wrapper_cfg or {}).get("type")
    kind = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, FullySharded)


@torch.no_grad()
def _make_equal(module: nn.Module, device: torch.device) -> None:
    """Give every process the first one's weights, one tensor at a time on the device."""
    for tensor in [*module.parameters(), *module.buffers()]:
        moved = tensor.detach().to(device)
        dist.broadcast(moved, 0)
        tensor.copy_(moved)


def _average_gradient(parameter: nn.Parameter) -> None:
    # What was averaged in earlier passes is the same everywhere, and stays so.
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()


@HOOKS.register_module()
class EMAHook(hooks.EMAHook):
    """MMEngine's average of the weights, which is spread over processes where the weights are.

    Args:
        **options: As MMEngine's: ``ema_type``, ``momentum``, ``begin_iter``, ``update_buffers``, ...
    """

    def before_run(self, runner: Any) -> None:
        """Begin the average with the weights."""
        self.src_model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        sharded = isinstance(runner.model, FullySharded)
        model = mirror(self.src_model) if sharded else self.src_model
        self.ema_model = MODELS.build(self.ema_cfg, default_args={"model": model})


def mirror(module: nn.Module, seen: dict[nn.Parameter, nn.Parameter] | None = None) -> nn.Module:
    """Modules that hold copies of another's parameters and buffers under the same names, and can do nothing else.

    Sharded models cannot be copied as a whole.
    """
    seen = {} if seen is None else seen  # a parameter with two names has them here, too
    twin = nn.Module()
    for name, parameter in module._parameters.items():
        if parameter is not None and parameter not in seen:
            seen[parameter] = nn.Parameter(parameter.detach().clone(), parameter.requires_grad)
        twin.register_parameter(name, seen.get(parameter))
    for name, buffer in module._buffers.items():
        copied = None if buffer is None else buffer.clone()
        twin.register_buffer(name, copied, persistent=name not in module._non_persistent_buffers_set)
    for name, child in module.named_children():
        twin.add_module(name, mirror(child, seen))
    return twin
