"""NaN check: whether loss and gradients of an update are finite, decided on the device and read back later."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from x2vlm.data.batch import Batch
from x2vlm.distributed import is_distributed, local_shard
from x2vlm.engine.optim.loss_scaling import MIN_SCALE

_MAX_PARAMETERS = 5  # named in a message
_MAX_RECORDS = 8


class AsyncRead:
    """Asynchronous copy of a tensor from the device to host memory.

    Args:
        values: The tensor. From a GPU it is copied into page-locked memory after all work launched so far; later
            launches do not wait for it.
    """

    def __init__(self, values: Tensor) -> None:
        self._values, self._copied = values, None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._copied = torch.cuda.Event()
            self._copied.record()

    def is_ready(self) -> bool:
        """Whether the copy, and so all work launched before it, is finished; then :meth:`tolist` does not wait."""
        return self._copied is None or self._copied.query()

    def tolist(self) -> list:
        """The values; waits for the copy."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._values.tolist()


@dataclass(frozen=True)
class FiniteCheck:
    """Result of the NaN check of an update, on the device.

    Attributes:
        here: Scalar, 1.0 where the loss, a gradient, or the loss scale is bad in this process, else 0.0.
        anywhere: The maximum of ``here`` over all processes.
        norms: Gradient norm of each parameter, ``[P]``, in the order of ``names``; None with fp16, where gradients may
            overflow.
        names: Names of the parameters that have a gradient.
        scale: The loss scale; None without fp16.
    """

    here: Tensor
    anywhere: Tensor
    norms: Tensor | None
    names: tuple[str, ...]
    scale: Tensor | None


def check_finite(loss: Tensor, model: nn.Module, scaler: Any = None) -> FiniteCheck:
    """Check loss and gradients of an update, over all processes, without waiting for the device.

    With fp16 gradients may overflow: the scaler skips such updates and lowers the loss scale. Only a scale too small to
    be lowered further is an error.

    Args:
        loss: The summed loss.
        model: The model, after the backward passes; of sharded gradients the local shard is checked.
        scaler: The gradient scaler of fp16; None otherwise.
    """
    gradients = {name: local_shard(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    norms = scale = None
    if scaler is not None:
        scale = scaler.scale(torch.ones((), device=loss.device))
        good = torch.isfinite(loss) & (scale > MIN_SCALE)
    else:
        norms = gradient_norms(list(gradients.values()), loss.device)
        good = torch.isfinite(loss) & torch.isfinite(torch.linalg.vector_norm(norms))
    here = 1.0 - good.float()
    anywhere = here.clone()
    if is_distributed():
        dist.all_reduce(anywhere, dist.ReduceOp.MAX)
    return FiniteCheck(here, anywhere, norms, tuple(gradients), scale)


def gradient_norms(gradients: list[Tensor], device: torch.device) -> Tensor:
    """The 2-norm of each tensor, ``[P]`` float; empty for no tensors."""
    if not gradients:
        return torch.zeros(0, device=device)
    return torch.stack([norm.float().to(device) for norm in torch._foreach_norm(gradients)])


def describe_bad_update(check: FiniteCheck, scalars: Mapping[str, Tensor], batches: Mapping[str, Batch]) -> str:
    """What is not finite in a bad update: losses with their records, parameters, or the loss scale.

    Args:
        check: Of the update.
        scalars: ``loss``, and ``<stream>.<name>`` of everything that the objectives returned.
        batches: The batches of the losses, by stream.
    """
    if not check.here.item():
        return "a loss or a gradient is not a finite number in another process, which names it."
    if not torch.isfinite(scalars["loss"]):
        return "the loss is not a finite number.\n" + "\n".join(bad_losses(scalars, batches))
    if check.scale is not None:
        return f"the scale of the loss has fallen to {check.scale.item():.0e}, and gradients still overflow."
    bad = [name for name, finite in zip(check.names, check.norms.isfinite().tolist(), strict=True) if not finite]
    more = f", and {len(bad) - _MAX_PARAMETERS} more" if len(bad) > _MAX_PARAMETERS else ""
    where = f"of {', '.join(bad[:_MAX_PARAMETERS])}{more}" if bad else "is so large that its norm overflows"
    lines = bad_losses(scalars, batches, is_wanted=lambda value: True)
    return f"the losses are finite, but a gradient is not: {where}.\n" + "\n".join(lines)


def bad_losses(
    scalars: Mapping[str, Tensor],
    batches: Mapping[str, Batch],
    is_wanted: Callable[[float], bool] = lambda value: not isfinite(value),
) -> list[str]:
    """A line for each stream with a loss that is not finite (or ``is_wanted``), with the records of its batch.

    Args:
        scalars: ``<stream>.<name>`` of everything that the objectives returned.
        batches: The batches, by stream.
        is_wanted: Which losses are listed.
    """
    losses = {key: value.item() for key, value in scalars.items() if "loss" in key}
    listed = {key: value for key, value in losses.items() if is_wanted(value)}
    lines = []
    for name, batch in batches.items():
        losses = [f"{key} is {value}" for key, value in listed.items() if key.startswith(f"{name}.")]
        records = list(dict.fromkeys(batch.where))
        if losses:
            more = f", and {len(records) - _MAX_RECORDS} more" if len(records) > _MAX_RECORDS else ""
            lines.append(f"  {'; '.join(losses)}. Records: {', '.join(records[:_MAX_RECORDS]) or 'unknown'}{more}")
    return lines


def skips_on_device(optimizer: Optimizer) -> bool:
    """Whether an optimizer accepts ``found_inf``, a tensor on the device, and makes no update where that is 1.

    True for torch's fused Adam and AdamW, and for :class:`~x2vlm.engine.optim.published_adamw.PublishedAdamW`.
    """
    if isinstance(optimizer, Adam | AdamW):
        return all(group.get("fused") for group in optimizer.param_groups)
    return hasattr(optimizer, "uncount_step") and getattr(optimizer, "_step_supports_amp_scaling", False)


def defers_check(optimizer: Optimizer, device: torch.device) -> bool:
    """Whether the result of the check is read after the update: on a GPU, which would have to be waited for."""
    return device.type == "cuda" and skips_on_device(optimizer)
