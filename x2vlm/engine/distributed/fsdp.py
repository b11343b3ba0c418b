"""Fully sharded data parallel training (FSDP2): weights, gradients and optimizer state are sharded over processes.

FSDP2 all-gathers the weights of a unit for its forward and backward pass, and frees them afterwards. Units are the
layers of the towers and of the answer decoder; all other parameters (embeddings, projections, heads, tied word
embeddings) are one more unit, gathered for the whole step. A layer whose weights are used by methods other than
``forward`` lists these in its attribute ``forward_methods``.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from mmengine.device import get_device
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

from x2vlm.models.layers.tower_layers import layers_of
from x2vlm.registry import MODEL_WRAPPERS

GATHER_DTYPES = {"fp32": None, "bf16": torch.bfloat16}


@MODEL_WRAPPERS.register_module()
class FullySharded(nn.Module):
    """A model sharded over all processes (FSDP2), for ``model_wrapper_cfg``.

    Gradients are averaged over processes after every backward pass. Losses, gradients and updates are those of
    ``MMDistributedDataParallel``, with ``gather="fp32"``.

    Args:
        module: The model, initialised; it is changed in place. The weights of rank 0 are broadcast.
        gather: ``fp32``, or ``bf16`` to send weights (not gradients) in half the bytes; everything, norms and
            embeddings included, is then computed with rounded weights. For runs with ``precision="bf16"``.

    Raises:
        ValueError: If ``gather`` is unknown.
    """

    def __init__(self, module: nn.Module, gather: str = "fp32") -> None:
        super().__init__()
        if gather not in GATHER_DTYPES:
            raise ValueError(f"gather is {gather!r}. Accepted: {', '.join(GATHER_DTYPES)}.")
        # A layer's keys and values are views, which must not be changed in place: nothing does.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        device = torch.device(get_device())
        policy = MixedPrecisionPolicy(
            GATHER_DTYPES[gather], reduce_dtype=torch.float32, output_dtype=None, cast_forward_inputs=False
        )
        self.mesh = init_device_mesh(device.type, (dist.get_world_size(),))
        options = {"mesh": self.mesh, "mp_policy": policy}
        _broadcast_weights(module, device)
        for unit in layers_of(module):
            fully_shard(unit, **options)
            for name in getattr(unit, "forward_methods", ()):
                register_fsdp_forward_method(unit, name)
        scalars = {parameter for parameter in module.parameters() if parameter.dim() == 0}
        for scalar in scalars:  # cannot be sharded: replicated, with averaged gradients
            if scalar.requires_grad:
                scalar.register_post_accumulate_grad_hook(_average_gradient)
        self.module = fully_shard(module, ignored_params=scalars, **options)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Forward pass of the model."""
        return self.module(*args, **kwargs)

    @contextmanager
    def unsharded(self) -> Iterator[None]:
        """All-gather all weights for the block: each process may call any method of the model, any number of times."""
        # Without it the first layer that is called would take itself for the root unit.
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


def unsharded(model: nn.Module) -> AbstractContextManager:
    """:meth:`FullySharded.unsharded` of a sharded model; does nothing for any other."""
    return model.unsharded() if isinstance(model, FullySharded) else nullcontext()


def is_fsdp_config(model_wrapper_cfg: Mapping[str, Any] | None) -> bool:
    """Whether the config of a model wrapper names :class:`FullySharded`."""
    kind = (model_wrapper_cfg or {}).get("type")
    kind = MODEL_WRAPPERS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, FullySharded)


@torch.no_grad()
def _broadcast_weights(module: nn.Module, device: torch.device) -> None:
    """Broadcast parameters and buffers of rank 0, one tensor at a time on the device."""
    for tensor in [*module.parameters(), *module.buffers()]:
        moved = tensor.detach().to(device)
        dist.broadcast(moved, 0)
        tensor.copy_(moved)


def _average_gradient(parameter: nn.Parameter) -> None:
    # The part of earlier backward passes is averaged already, thus equal in all processes: averaging keeps it.
    dist.all_reduce(parameter.grad)
    parameter.grad /= dist.get_world_size()
