"""Gradient clipping by norm or by value, for full and for sharded gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.argument_checks import argument_problems
from x2vlm.distributed import full_tensor, is_sharded, local_shard

CLIPPING = {"norm": (nn.utils.clip_grad_norm_, "max_norm"), "value": (nn.utils.clip_grad_value_, "clip_value")}


def check_clip_grad(options: Mapping[str, Any]) -> None:
    """Refuse arguments of ``clip_grad`` that would fail in the first update, or turn gradients round.

    Raises:
        ValueError: If a name is not known, or the bound is no number above 0.
    """
    kind, given = options.get("type", "norm"), [name for name in options if name != "type"]
    if kind not in CLIPPING:
        raise ValueError(f"clip_grad.type is {kind!r}. Accepted: {', '.join(CLIPPING)}.")
    function, bound = CLIPPING[kind]
    if problems := argument_problems(function, given, hidden=("parameters",), title="clip_grad"):
        raise ValueError(" ".join(problems))
    value = options[bound]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise ValueError(f"clip_grad.{bound} is {value!r}; expected a number above 0. clip_grad=None does not clip.")


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
