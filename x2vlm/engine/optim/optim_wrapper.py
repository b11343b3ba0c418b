"""Optimizer wrapper: one update from several backward passes, with accumulation, clipping and fp16 loss scaling."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mmengine.optim import OptimWrapper
from torch import Tensor, nn
from torch.optim import Optimizer

from x2vlm.distributed import shard_like
from x2vlm.engine.optim.autocast import autocast
from x2vlm.engine.optim.clip_gradients import check_clip_grad, clip_gradients
from x2vlm.engine.optim.loss_scaling import build_scaler, scale_loss, step_unless
from x2vlm.engine.optim.published_adamw import PublishedAdamW
from x2vlm.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class MixedOptimWrapper(OptimWrapper):
    """Sum the gradients of several backward passes; one iteration is one micro step, however many passes it has.

    Args:
        optimizer: The optimizer, built.
        accumulative_counts: Iterations whose gradients are averaged into one update.
        clip_grad: Arguments of ``torch.nn.utils.clip_grad_norm_`` for the summed gradient, e.g. ``dict(max_norm=1.0)``;
            with ``type="value"`` those of ``clip_grad_value_``. None: no clipping.
        precision: ``fp32``, or ``bf16`` / ``fp16`` autocast. fp16 scales the loss.

    Attributes:
        scaler: The gradient scaler of fp16; None otherwise.
        skipped: On the device 1.0 where the last update was not made, 0.0 where it was; None: it was.
        grad_norm: Total norm of the last update's gradient before clipping, on the device; None without clipping.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        accumulative_counts: int = 1,
        clip_grad: dict[str, Any] | None = None,
        precision: str = "fp32",
    ) -> None:
        if clip_grad is not None:
            check_clip_grad(clip_grad)
        super().__init__(optimizer, accumulative_counts, None if clip_grad is None else dict(clip_grad))
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.device = parameters[0].device
        autocast(precision, self.device)
        self.precision = precision
        self.scaler = build_scaler(precision, self.device, parameters)
        self._dropped = False
        self.skipped: Tensor | None = None
        self.grad_norm: Tensor | None = None

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast, and no gradient all-reduce inside an accumulation, for MMEngine's own ``train_step``."""
        with super().optim_context(model), autocast(self.precision, self.device):
            yield

    def add_gradients(self, loss: Tensor) -> None:
        """Backward pass of a loss, divided by the accumulation; :meth:`finish_iteration` counts the iteration."""
        scale_loss(self.scaler, self.scale_loss(loss)).backward()

    def finish_iteration(self, bad: Tensor | None = None) -> bool:
        """Count an iteration after its backward passes, and update if it completes an accumulation.

        Args:
            bad: As for :meth:`update_now`.

        Returns:
            Whether an update was made.
        """
        self._inner_count += 1
        return self.update_now(bad) if self.should_update() else False

    def update_now(self, bad: Tensor | None = None) -> bool:
        """Update from the gradients so far without counting an iteration, for iterations of several updates.

        Args:
            bad: On the device 1.0 where the update must not be made, else 0.0. It is not read back: the caller reads
                :attr:`skipped` later and calls :meth:`uncount_update` where that is 1. None: the update is made (with
                fp16: unless a gradient overflowed).

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

    def uncount_update(self) -> None:
        """Take the last update, whose :attr:`skipped` turned out to be 1, out of the optimizer's step count."""
        if isinstance(self.optimizer, PublishedAdamW):
            self.optimizer.uncount_step()

    def drop(self) -> None:
        """Discard the gradients so far; the update that they belong to will not be made."""
        self._dropped = True
        self.zero_grad()

    def backward(self, loss: Tensor, **kwargs: Any) -> None:
        """Backward pass that is an iteration of its own, for MMEngine's ``update_params``."""
        scale_loss(self.scaler, loss).backward(**kwargs)
        self._inner_count += 1

    def step(self, **kwargs: Any) -> None:
        """Clip and update. With fp16, an update whose gradient overflowed is skipped and the scale lowered."""
        if self.scaler is None:
            return super().step(**kwargs)
        self._scaled_step(**kwargs)
        self.scaler.update()
        skipped = getattr(self.optimizer, "skipped", None)
        if skipped is not None and skipped.item():  # an optimizer of ours, for which torch's scaler does not wait
            self.uncount_update()
        return None

    def _scaled_step(self, **kwargs: Any) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.clip_grad_kwargs:
            self._clip_grad()
        self.scaler.step(self.optimizer, **kwargs)

    def _step_unless(self, bad: Tensor) -> None:
        """:meth:`step` without reading from the device: an update that is ``bad`` or overflows is skipped there."""
        if self.scaler is None:
            self.optimizer.found_inf = self.skipped = bad
            super().step()
            del self.optimizer.found_inf
            return
        step_unless(bad, self.scaler, [p.grad for p in self._with_gradient()], self._scaled_step)
        self.skipped = getattr(self.optimizer, "skipped", None)

    def _clip_grad(self) -> None:
        if parameters := self._with_gradient():
            self.grad_norm = clip_gradients(parameters, self.clip_func, self.clip_grad_kwargs)

    def _with_gradient(self) -> list[nn.Parameter]:
        return [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]

    def get_lr(self) -> dict[str, list[float]]:
        """Learning rates to log: ``lr``, and ``fresh_lr``, ``vision_lr``, ... where there are such groups.

        Where the rate decays by layers it is that of the highest.
        """
        groups = self.optimizer.param_groups
        rates: dict[str, list[float]] = {}
        for group in groups:
            kind = group.get("name", "base").split("/")[0]
            name = "lr" if kind == "base" else f"{kind}_lr"
            rates[name] = [max(group["lr"], *rates.get(name, ()))] if name in rates else [group["lr"]]
        return {"lr": [groups[0]["lr"]]} | rates

    def state_dict(self) -> dict[str, Any]:
        """State of the optimizer, and of the gradient scaler in fp16 (``loss_scaler``)."""
        state = super().state_dict()
        return state if self.scaler is None else state | {"loss_scaler": self.scaler.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore a :meth:`state_dict`, of the same precision or another."""
        state_dict = dict(state_dict)
        scaler = state_dict.pop("loss_scaler", None)
        if scaler and self.scaler is not None:
            self.scaler.load_state_dict(scaler)
        super().load_state_dict(self._sharded(self._with_kernels_of_this_run(state_dict)))

    def _with_kernels_of_this_run(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The state with this run's ``fused`` and ``foreach``, as a run may resume on another device."""
        groups = [
            {**theirs, **{key: ours[key] for key in ("fused", "foreach", "capturable") if key in ours}}
            for theirs, ours in zip(state_dict["param_groups"], self.optimizer.param_groups, strict=False)
        ]
        more = state_dict["param_groups"][len(groups) :]  # of another model: torch raises
        return {**state_dict, "param_groups": groups + more}

    def _sharded(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """The state of sharded parameters sharded like them, where a file holds full tensors."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        states = {
            index: {k: shard_like(v, parameters[index]) if isinstance(v, Tensor) else v for k, v in state.items()}
            for index, state in state_dict["state"].items()
        }
        return {**state_dict, "state": states}


def accumulative_counts(wrapper: Any) -> int:
    """Iterations of one update, of an optimizer wrapper, built or as config; 1 for what has no such number."""
    if isinstance(wrapper, Mapping):
        return wrapper.get("accumulative_counts", 1)
    return getattr(wrapper, "_accumulative_counts", 1)
