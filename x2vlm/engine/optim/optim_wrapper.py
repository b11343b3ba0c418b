"""One update from the gradients of several streams: precision, accumulation, clipping over the sum."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import sqrt
from typing import Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from x2vlm.distributed import is_spread, local, spread_like, whole
from x2vlm.registry import OPTIM_WRAPPERS, OPTIMIZERS

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Inside, what may be computed in ``precision`` (fp32, bf16, fp16) is; on CPU as on GPU."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}' is not known. Accepted: {', '.join(PRECISIONS)}.")
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)


@OPTIM_WRAPPERS.register_module()
class MixedOptimWrapper(OptimWrapper):
    """Gradients of several backward passes are summed; one iteration is one micro step, whatever the number of passes.

    Args:
        optimizer: The optimizer, built.
        accumulative_counts: Iterations whose gradients are averaged into one update.
        clip_grad: Arguments of ``torch.nn.utils.clip_grad_norm_`` for the summed gradient, e.g. ``dict(max_norm=1.0)``;
            with ``type="value"`` those of ``clip_grad_value_``. None: no clipping.
        precision: ``fp32``, or ``bf16`` / ``fp16`` autocast. fp16 scales the loss.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
        precision: str = "fp32",
    ) -> None:
        super().__init__(optimizer, accumulative_counts, None if clip_grad is None else dict(clip_grad))
        self.device = optimizer.param_groups[0]["params"][0].device
        autocast(precision, self.device)
        if precision == "fp16" and any(is_spread(p) for group in optimizer.param_groups for p in group["params"]):
            raise ValueError("precision fp16 needs its loss scaled, which FullySharded models do not allow. Use bf16.")
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.device.type) if precision == "fp16" else None
        self._dropped = False
        self.skipped: Tensor | None = None  # 1.0 where the last update was not made, 0.0 where it was; None: it was
        self.grad_norm: Tensor | None = None  # of the last update, before clipping; on the device, to spare a wait

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """What MMEngine's own ``train_step`` enters: precision, and no gradient exchange inside an accumulation."""
        with super().optim_context(model), autocast(self.precision, self.device):
            yield

    def add_gradients(self, loss: Tensor) -> None:
        """Backward pass of one stream's loss; counts as nothing until :meth:`finish_iteration`."""
        loss = self.scale_loss(loss)  # divided by the accumulation
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()

    def finish_iteration(self, bad: Tensor | None = None) -> bool:
        """All streams are in: update, if this iteration completes an accumulation. Says whether it did.

        Args:
            bad: As for :meth:`update_now`.
        """
        self._inner_count += 1
        return self.update_now(bad) if self.should_update() else False

    def update_now(self, bad: Tensor | None = None) -> bool:
        """Update from what is in, in the middle of an iteration that makes several updates; no iteration is counted.

        Args:
            bad: On the device 1.0 where the update must not be made, else 0.0; then nothing is read back, and whoever
                gave it reads :attr:`skipped` later and calls :meth:`forget_update` where that is 1. None: the update is
                made (with fp16: unless a gradient overflowed).

        Returns:
            Whether the update was made, as far as is known without reading ``bad``.
        """
        made, self.skipped = not self._dropped, None
        if made and bad is None:
            self.step()
        elif made:
            self._step_unless(bad)
        self.zero_grad()
        self._dropped = False
        return made

    def forget_update(self) -> None:
        """Let the last update, of which :attr:`skipped` turned out to be 1, not count."""
        if isinstance(self.optimizer, PublishedAdamW):
            self.optimizer.forget_step()

    def drop(self) -> None:
        """What is in so far is no good: the update that it belongs to will not be made."""
        self._dropped = True
        self.zero_grad()

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """A backward pass that is an iteration of its own, for MMEngine's ``update_params``."""
        (loss if self.scaler is None else self.scaler.scale(loss)).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Clip and update. With fp16, an update whose gradient overflowed is skipped and the scale lowered."""
        if self.scaler is None:
            return super().step(**kwargs)
        self._scaled_step(**kwargs)
        self.scaler.update()
        found = getattr(self.optimizer, "skipped", None)
        if found is not None and found.item():  # without a scaler that waits, as torch's own does
            self.forget_update()
        return None

    def _scaled_step(self, **kwargs: Any) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)

    def _step_unless(self, bad: Tensor) -> None:
        """:meth:`step`, but nothing is read from the device: what is ``bad`` or overflows is skipped there."""
        if self.scaler is None:
            self.optimizer.found_inf = self.skipped = bad
            super().step()
            del self.optimizer.found_inf
            return
        before = [tensor.clone() for tensor in (self.scaler._scale, self.scaler._growth_tracker)]
        self._spoil(bad)
        self._scaled_step()
        self.scaler.update()
        for tensor, old in zip((self.scaler._scale, self.scaler._growth_tracker), before, strict=True):
            tensor.copy_(torch.where(bad.bool(), old, tensor))  # no overflow: a smaller scale would not help
        self.skipped = getattr(self.optimizer, "skipped", None)

    def _spoil(self, bad: Tensor) -> None:
        """NaN into a gradient where ``bad`` is 1: the scaler sees gradients only, and a bad loss may have good ones."""
        parameters = (p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None)
        gradients = [local(p.grad) for p in parameters if p.grad.numel()]
        if gradients:
            smallest = min(gradients, key=Tensor.numel)
            smallest.add_(torch.where(bad.bool(), torch.nan, 0.0).to(smallest.dtype))

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates to log: ``lr``, and ``fresh_lr``, ``vision_lr``, ... where there are such groups."""
        groups = self.optimizer.param_groups
        rates = {"lr": [groups[0]["lr"]]}
        for group in groups:
            kind = group.get("name", "base").split("/")[0]
            rates["lr" if kind == "base" else f"{kind}_lr"] = [group["lr"]]
        return rates

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's state, and the loss scale in fp16."""
        state = super().state_dict()
        return state if self.scaler is None else state | {"loss_scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a :meth:`state_dict`, of the same precision or another."""
        state_dict = dict(state_dict)
        scale = state_dict.pop("loss_scaler", None)
        if scale and self.scaler is not None:
            self.scaler.load_state_dict(scale)
        super().load_state_dict(self._spread(self._with_own_kernels(state_dict)))

    def _with_own_kernels(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The state with the ``fused`` and ``foreach`` of this run, which may go on on another device."""
        groups = [
            {**theirs, **{key: ours[key] for key in ("fused", "foreach", "capturable") if key in ours}}
            for theirs, ours in zip(state_dict["param_groups"], self.optimizer.param_groups, strict=False)
        ]
        more = state_dict["param_groups"][len(groups) :]  # of another model: torch says so
        return {**state_dict, "param_groups": groups + more}

    def _spread(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The state of sharded parameters in parts as they are, where a file has it whole."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        state = {
            number: {key: spread_like(v, parameters[number]) if isinstance(v, Tensor) else v for key, v in one.items()}
            for number, one in state_dict["state"].items()
        }
        return {**state_dict, "state": state}

    def _clip_grad(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            return
        if not any(map(is_spread, parameters)):
            self.grad_norm = self.clip_func(parameters, **self.clip_grad_kwargs)
        elif self.clip_func is nn.utils.clip_grad_norm_:
            self.grad_norm = clip_over_processes(parameters, **self.clip_grad_kwargs)
        else:  # by value, which is the same in parts
            for parameter in parameters:
                local(parameter.grad).clamp_(-self.clip_grad_kwargs["clip_value"], self.clip_grad_kwargs["clip_value"])


def clip_over_processes(
    parameters: list[nn.Parameter], max_norm: float, norm_type: float = 2.0, **options: Any
) -> Tensor:
    """``clip_grad_norm_`` where some gradients are spread over processes and some are not; the norm before clipping."""
    spread = [parameter for parameter in parameters if is_spread(parameter)]
    rest = [parameter for parameter in parameters if not is_spread(parameter)]
    norms = [whole(nn.utils.get_total_norm([p.grad for p in part], norm_type)) for part in (spread, rest) if part]
    total = torch.linalg.vector_norm(torch.stack(norms), norm_type)
    for part in (spread, rest):
        nn.utils.clip_grads_with_norm_(part, max_norm, total)
    return total


@OPTIMIZERS.register_module()
class PublishedAdamW(Optimizer):
    """AdamW as the published runs had it, from an old version of transformers.

    Two differences from torch's AdamW: ``eps`` is added before the second moment's bias is corrected (so it weighs
    more in the first updates), and the decay comes after the update, of the updated weight.

    Args:
        params: Parameters or groups.
        lr: Learning rate.
        betas: Decay rates of the two moments.
        eps: Keeps the division finite.
        weight_decay: Share of a weight, times the learning rate, that is taken off after each update.
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

        Where there is an attribute ``found_inf``, a tensor without dimensions, parameters and moments change only if it
        is not 1; ``grad_scale`` divides the gradients. Neither is read back: see :meth:`forget_step`.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.skipped, self._counted = getattr(self, "found_inf", None), []
        on_device = {"found_inf": self.skipped, "grad_scale": getattr(self, "grad_scale", None)}
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            for step, alike in self._by_step(parameters).items():
                states = [self.state[p] for p in alike]
                moments = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
                options = {key: group[key] for key in ("lr", "betas", "eps", "weight_decay")}
                published_update(alike, [p.grad for p in alike], *moments, step, **options, **on_device)
        return loss

    def forget_step(self) -> None:
        """Count the last :meth:`step` as not made; to be called before the next one where its ``found_inf`` was 1."""
        if self._counted:
            torch._foreach_sub_(self._counted, 1.0)
        self._counted = []

    def _by_step(self, parameters: list[Tensor]) -> dict[float, list[Tensor]]:
        """The parameters by the number of updates they have had with the one to come, which is counted here."""
        for parameter in parameters:
            if not (state := self.state[parameter]):
                state["step"] = torch.zeros(())
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        steps = [self.state[parameter]["step"] for parameter in parameters]
        found: dict[float, list[Tensor]] = {}
        if steps:
            torch._foreach_add_(steps, 1.0)
            self._counted += steps
            for parameter, step in zip(parameters, torch.stack(steps).tolist(), strict=True):
                found.setdefault(step, []).append(parameter)
        return found


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
    """Change parameters and moments in place, each in one pass: torch's fused AdamW with other numbers.

    Torch divides by ``sqrt(square / correction) + eps`` and takes the decay off before the update. With ``eps`` divided
    by the root of the correction, and the rate and the decay set so that the whole difference shrinks as published, the
    two are equal; see ``tests/engine/optim/test_optim_wrapper.py``. Sharded tensors are updated where they lie.
    Gradients are divided by ``grad_scale``, and nothing changes where ``found_inf`` is 1.

    Raises:
        ValueError: If the decay takes all of a weight or more.
    """
    left, on_device = 1 - lr * weight_decay, {"grad_scale": grad_scale, "found_inf": found_inf}
    if left <= 0:
        raise ValueError(f"lr={lr} times weight_decay={weight_decay} leaves nothing of a weight; expected less than 1.")
    lists = [[local(x) for x in tensors] for tensors in (parameters, grads, means, squares)]
    lists[1] = [_laid_out_as(x, grad) for x, grad in zip(lists[0], lists[1], strict=True)]
    for device, dtype in dict.fromkeys((x.device, x.dtype) for x in lists[0]):
        here = [n for n, x in enumerate(lists[0]) if (x.device, x.dtype) == (device, dtype)]
        torch._fused_adamw_(
            *([tensors[n] for n in here] for tensors in lists),
            [],
            [torch.full((), step, device=device)] * len(here),
            lr=lr * left,
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=weight_decay / left,
            eps=eps / sqrt(1 - betas[1] ** step),
            amsgrad=False,
            maximize=False,
            **{name: value.to(device, non_blocking=True) for name, value in on_device.items() if value is not None},
        )


def _laid_out_as(parameter: Tensor, grad: Tensor) -> Tensor:
    """The gradient in the parameter's order of memory, which is all that the fused update looks at."""
    return grad if grad.stride() == parameter.stride() else torch.empty_like(parameter).copy_(grad)
