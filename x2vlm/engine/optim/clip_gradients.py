"""Gradient clipping by norm or by value, for full and for sharded gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.distributed import full_tensor, is_sharded, local_shard


def clip_gradients(
    parameters: Sequence[nn.Parameter], clip: Callable[..., Tensor | None], options: Mapping[str, Any]
) -> Tensor | None:
    """Clip gradients in place.

    Args:
        parameters: Those that have a gradient.
        clip: ``torch.nn.utils.clip_grad_norm_`` or ``clip_grad_value_``.
        options: Its keyword arguments.

    Returns:
        The total norm before clipping, on the device; None when clipping by value.
    """
    if not any(map(is_sharded, parameters)):
        return clip(parameters, **options)
    if clip is nn.utils.clip_grad_norm_:
        return clip_norm_of_shards(parameters, **options)
    for parameter in parameters:  # by value, which is the same shard by shard
        local_shard(parameter.grad).clamp_(-options["clip_value"], options["clip_value"])
    return None


def clip_norm_of_shards(
    parameters: Sequence[nn.Parameter], max_norm: float, norm_type: float = 2.0, **options: Any
) -> Tensor:
    """``clip_grad_norm_`` where some gradients are sharded and some are not; returns the total norm before clipping."""
    sharded = [parameter for parameter in parameters if is_sharded(parameter)]
    full = [parameter for parameter in parameters if not is_sharded(parameter)]
    groups = [group for group in (sharded, full) if group]
    norms = [full_tensor(nn.utils.get_total_norm([p.grad for p in group], norm_type)) for group in groups]
    total = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    for group in groups:
        nn.utils.clip_grads_with_norm_(group, max_norm, total)
    return total
