"""Are the loss and the gradients of an update finite? Decided on the device, and told when the answer has arrived."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import Adam, AdamW, Optimizer

from x2vlm.data.batch import Batch
from x2vlm.distributed import is_distributed, local
from x2vlm.engine.total_loss import bad_losses

_NAMED = 5  # parameters
_LEAST_SCALE = 1e-4  # of the loss in fp16; below it gradients overflow whatever the scale


class DelayedRead:
    """A few numbers on their way from the device to main memory.

    Args:
        values: A tensor. From a GPU it is copied into page-locked memory after what has been launched so far; the
            launching goes on meanwhile.
    """

    def __init__(self, values: Tensor) -> None:
        self._values, self._arrived = values, None
        if values.device.type == "cuda":
            self._values = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            self._values.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()

    def has_arrived(self) -> bool:
        """Whether :meth:`tolist` need not wait, so the device has done all that was launched before."""
        return self._arrived is None or self._arrived.query()

    def tolist(self) -> list:
        """The numbers; waits for them where they have not arrived."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._values.tolist()


@dataclass(frozen=True)
class FiniteCheck:
    """What is known on the device of the numbers of an update.

    Attributes:
        here: 1.0 where the loss, a gradient, or the scale of the loss is bad in this process, else 0.0; no dimension.
        anywhere: The same of all processes.
        norms: The norm of the gradient of each parameter, ``[P]``, in the order of ``names``; None with fp16, where
            gradients may overflow.
        names: Names of the parameters that have a gradient.
        scale: The scale of the loss; None without fp16.
    """

    here: Tensor
    anywhere: Tensor
    norms: Tensor | None
    names: tuple[str, ...]
    scale: Tensor | None


def check_finite(loss: Tensor, model: nn.Module, scaler: Any = None) -> FiniteCheck:
    """Check the loss and the gradients of an update, over all processes, without waiting for the device.

    With fp16 gradients may overflow: the scaler leaves such updates out and lowers the scale. Only when there is
    nothing left to lower is that an error.

    Args:
        loss: The summed loss.
        model: Its gradients are looked at; of sharded ones, the part that is here.
        scaler: The scaler of the loss, with fp16.
    """
    gradients = {name: local(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    norms = scale = None
    if scaler is not None:
        scale = scaler.scale(torch.ones((), device=loss.device))
        good = torch.isfinite(loss) & (scale > _LEAST_SCALE)
    else:
        norms = gradient_norms(list(gradients.values()), loss.device)
        good = torch.isfinite(loss) & torch.isfinite(torch.linalg.vector_norm(norms))
    here = 1.0 - good.float()
    anywhere = here.clone()
    if is_distributed():
        dist.all_reduce(anywhere, dist.ReduceOp.MAX)
    return FiniteCheck(here, anywhere, norms, tuple(gradients), scale)


def gradient_norms(gradients: list[Tensor], device: torch.device) -> Tensor:
    """The 2-norm of each tensor, ``[P]`` float; no number where there are no tensors."""
    if not gradients:
        return torch.zeros(0, device=device)
    return torch.stack([norm.float().to(device) for norm in torch._foreach_norm(gradients)])


def describe_bad(check: FiniteCheck, scalars: Mapping[str, Tensor], batches: Mapping[str, Batch]) -> str:
    """What is bad in an update that is known to be bad somewhere: losses and records, parameters, or the scale.

    Args:
        check: Of the update.
        scalars: ``loss``, and ``<stream>.<name>`` of all that the objectives gave.
        batches: What the losses come from, by stream.
    """
    if not check.here.item():
        return "a loss or a gradient is not a finite number in another process, which names it."
    if not torch.isfinite(scalars["loss"]):
        return "the loss is not a finite number.\n" + "\n".join(bad_losses(scalars, batches))
    if check.scale is not None:
        return f"the scale of the loss has fallen to {check.scale.item():.0e}, and gradients still overflow."
    bad = [name for name, norm in zip(check.names, check.norms.isfinite().tolist(), strict=True) if not norm]
    more = f", and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
    where = f"of {', '.join(bad[:_NAMED])}{more}" if bad else "is so large that its norm overflows"
    lines = bad_losses(scalars, batches, wanted=lambda value: True)
    return f"the losses are finite, but a gradient is not: {where}.\n" + "\n".join(lines)


def skips_on_device(optimizer: Optimizer) -> bool:
    """Whether an optimizer takes ``found_inf``, a tensor on the device, and makes no update where that is 1.

    So do torch's fused Adam and AdamW, and :class:`~x2vlm.engine.optim.optim_wrapper.PublishedAdamW`.
    """
    if isinstance(optimizer, Adam | AdamW):
        return all(group.get("fused") for group in optimizer.param_groups)
    return hasattr(optimizer, "forget_step") and getattr(optimizer, "_step_supports_amp_scaling", False)


def defers_check(optimizer: Optimizer, device: torch.device) -> bool:
    """Whether the answer of the check is read after the update: on a GPU, which would have to be waited for."""
    return device.type == "cuda" and skips_on_device(optimizer)
