"""Autocast with few kernels: weights are cast together, once a pass, shared activations once.

Autocast casts a weight or an activation wherever a product reads it, in a kernel each: a third of the kernels of a
training step in bf16. The numbers are those of autocast: the same roundings, made earlier.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def autocast_dtype(device: torch.device) -> torch.dtype | None:
    """The autocast type on this device; None without autocast."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else None


def cast_once(x: Tensor) -> Tensor:
    """``x`` in the autocast type; for activations that several products read."""
    dtype = autocast_dtype(x.device)
    return x if dtype is None or not x.is_floating_point() else x.to(dtype)


@contextmanager
def cast_linears(blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, the linear layers of blocks have their weights in the type of autocast, cast block by block.

    Gradients come to the weights themselves, cast back together. Nothing changes without autocast or gradients, for
    modules that cast once themselves (``casts_weights``), for blocks that are compiled (there the cast is
    part of a kernel), or whose weights are sharded over processes.

    Args:
        blocks: Blocks of the towers.
    """
    swapped: list[tuple[nn.Linear, str, nn.Parameter]] = []
    try:
        for block in blocks:
            slots = [] if block._compiled_call_impl is not None else _castable(block)
            if slots:
                weights = [linear._parameters[name] for linear, name in slots]
                cast = _CastTogether.apply(autocast_dtype(weights[0].device), *weights)
                for (linear, name), weight, tensor in zip(slots, weights, cast, strict=True):
                    swapped.append((linear, name, weight))
                    linear._parameters[name] = tensor
        yield
    finally:
        for linear, name, weight in swapped:
            linear._parameters[name] = weight


def _castable(block: nn.Module) -> list[tuple[nn.Linear, str]]:
    linears = list(_linears(block))
    slots = [(linear, name) for linear in linears for name, weight in linear._parameters.items() if weight is not None]
    if not slots or not torch.is_grad_enabled():
        return []
    device, dtype = slots[0][0].weight.device, autocast_dtype(slots[0][0].weight.device)
    weights = [linear._parameters[name] for linear, name in slots]
    castable = all(type(w) is nn.Parameter and w.device == device and w.dtype == torch.float32 for w in weights)
    return slots if dtype is not None and castable else []


def _linears(module: nn.Module) -> Iterator[nn.Linear]:
    if getattr(module, "casts_weights", False):
        return
    if type(module) is nn.Linear:
        yield module
    for child in module.children():
        yield from _linears(child)


class _CastTogether(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        ctx.dtypes = [weight.dtype for weight in weights]
        cast = [torch.empty_like(weight, dtype=dtype) for weight in weights]
        torch._foreach_copy_(cast, list(weights))
        return tuple(cast)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        present = [n for n, grad in enumerate(grads) if grad is not None]
        cast = {n: torch.empty_like(grads[n], dtype=ctx.dtypes[n]) for n in present}
        if present:
            torch._foreach_copy_(list(cast.values()), [grads[n] for n in present])
        return None, *(cast.get(n) for n in range(len(grads)))
