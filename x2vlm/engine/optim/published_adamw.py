"""AdamW as in the published code: ``eps`` inside the bias correction, weight decay after the update."""

from collections.abc import Callable
from math import sqrt
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from x2vlm.distributed import local_shard
from x2vlm.registry import OPTIMIZERS


@OPTIMIZERS.register_module()
class PublishedAdamW(Optimizer):
    """AdamW of the published code, which took it from an old version of transformers.

    Two differences from torch's AdamW: ``eps`` is added before the bias correction of the second moment (so it weighs
    more in the first updates), and weight decay is applied after the update, to the updated weight.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: Added to the root of the second moment.
        weight_decay: Decoupled weight decay, times the learning rate, applied after each update.

    Attributes:
        skipped: The ``found_inf`` of the last step, on the device; None where there was none.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": tuple(betas), "eps": eps, "weight_decay": weight_decay})
        self._step_supports_amp_scaling = True  # the contract with torch's GradScaler: grad_scale and found_inf
        self.skipped: Tensor | None = None
        self._counted: list[Tensor] = []

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update every parameter that has a gradient.

        With an attribute ``found_inf``, a scalar tensor, parameters and moments change only where it is not 1; an
        attribute ``grad_scale`` divides the gradients. Neither is read back: see :meth:`uncount_step`.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.skipped, self._counted = getattr(self, "found_inf", None), []
        on_device = {"found_inf": self.skipped, "grad_scale": getattr(self, "grad_scale", None)}
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for step, members in self._by_step(parameters).items():
                states = [self.state[p] for p in members]
                moments = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
                options = {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")}
                published_update(members, [p.grad for p in members], *moments, step, **options, **on_device)
        return loss

    def uncount_step(self) -> None:
        """Take the last :meth:`step` out of the step count; to be called next where its ``found_inf`` was 1."""
        if self._counted:
            torch._foreach_sub_(self._counted, 1.0)
        self._counted = []

    def _by_step(self, parameters: list[Tensor]) -> dict[float, list[Tensor]]:
        """Group parameters by their step count, which is incremented here."""
        for parameter in parameters:
            if not (state := self.state[parameter]):
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        steps = [self.state[parameter]["step"] for parameter in parameters]
        groups: dict[float, list[Tensor]] = {}
        if steps:
            torch._foreach_add_(steps, 1.0)
            self._counted += steps
            for parameter, step in zip(parameters, torch.stack(steps).tolist(), strict=True):
                groups.setdefault(step, []).append(parameter)
        return groups


def published_update(
    parameters: list[Tensor],
    grads: list[Tensor],
    means: list[Tensor],
    squares: list[Tensor],
    step: float,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    grad_scale: Tensor | None = None,
    found_inf: Tensor | None = None,
) -> None:
    """Update parameters and moments in place with torch's fused AdamW kernel, fed other numbers.

    Torch divides by ``sqrt(square / correction) + eps`` and decays the weight before the update. Dividing ``eps`` by
    the root of the correction, and choosing rate and decay so that the whole difference shrinks as published, makes the
    two equal; see ``tests/engine/optim/test_published_adamw.py``. Of sharded tensors the local shards are updated.

    Args:
        parameters: Weights.
        grads: Their gradients; divided by ``grad_scale``.
        means: First moments.
        squares: Second moments.
        step: Step count, from 1.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: As for :class:`PublishedAdamW`.
        weight_decay: As for :class:`PublishedAdamW`.
        grad_scale: Scalar tensor; None: 1.
        found_inf: Scalar tensor; nothing changes where it is 1.

    Raises:
        ValueError: If ``lr * weight_decay`` is 1 or more.
    """
    kept, on_device = 1 - lr * weight_decay, {"grad_scale": grad_scale, "found_inf": found_inf}
    if kept <= 0:
        raise ValueError(f"lr={lr} times weight_decay={weight_decay} leaves nothing of a weight; expected less than 1.")
    lists = [[local_shard(x) for x in tensors] for tensors in (parameters, grads, means, squares)]
    lists[1] = [_with_strides_of(x, grad) for x, grad in zip(lists[0], lists[1], strict=True)]
    for device, dtype in dict.fromkeys((x.device, x.dtype) for x in lists[0]):
        members = [n for n, x in enumerate(lists[0]) if (x.device, x.dtype) == (device, dtype)]
        torch._fused_adamw_(
            *([tensors[n] for n in members] for tensors in lists),
            [],
            [torch.full((), step, device=device)] * len(members),
            lr=lr * kept,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=weight_decay / kept,
            eps=eps / sqrt(1 - betas[1] ** step),
            amsgrad=False,
            maximize=False,
            **{name: value.to(device, non_blocking=True) for name, value in on_device.items() if value is not None},
        )


def _with_strides_of(parameter: Tensor, grad: Tensor) -> Tensor:
    """The gradient with the parameter's strides: the fused kernel reads memory in order, whatever the strides."""
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)
