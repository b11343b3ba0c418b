"""One training step: forward and backward passes of several streams, NaN check, one update or several."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.data.batch import Batch
from x2vlm.data.sampler import derive_seed
from x2vlm.data.streams import Stream
from x2vlm.distributed import rank, world_size
from x2vlm.engine.device_transfer import DeviceTransfer
from x2vlm.engine.distributed.model_wrapper import gradient_sync, unwrap_model
from x2vlm.engine.failures.last_step import last_checkpoint
from x2vlm.engine.failures.nan_check import check_finite, defers_check
from x2vlm.engine.failures.nan_guard import UpdateGuard, UpdateRecord
from x2vlm.engine.failures.out_of_memory import describe_pass, explaining_out_of_memory
from x2vlm.engine.failures.step_dump import random_states
from x2vlm.engine.optim.autocast import autocast
from x2vlm.engine.optim.optim_wrapper import accumulative_counts
from x2vlm.engine.step_plan import PASSES, Objectives, split_into_passes
from x2vlm.engine.total_loss import compute_losses, named_scalars, sum_of_losses


class TrainStep:
    """Forward, backward and update from one batch of each stream.

    Args:
        runner: Of the model and the optimizer wrapper.
        streams: The streams, built, by name.
        passes: ``together`` or ``by_stream``, as for :class:`~x2vlm.engine.train_loop.MixedTrainLoop`.
        guard: Checks the updates.

    Attributes:
        has_updated: Whether an update was started since the caller last set this to False.
    """

    def __init__(self, runner: Any, streams: Mapping[str, Stream], passes: str, guard: UpdateGuard) -> None:
        if passes not in PASSES:
            raise ValueError(f"passes is {passes!r}.{suggestion(passes, PASSES)} Accepted: {', '.join(PASSES)}.")
        self.runner, self.streams, self.guard = runner, streams, guard
        self.passes = passes if takes_several_batches(unwrap_model(runner.model)) else "by_stream"
        if self.passes != passes and len(split_into_passes(streams, self.passes)) > 1:
            runner.logger.warning(
                f"passes={passes!r}, but {type(unwrap_model(runner.model)).__name__} takes one batch at a time: every "
                "stream goes forward and backward by itself. Models whose forward takes batches by stream say so by "
                "takes_several_batches = True."
            )
        self.has_updated = False

    @cached_property
    def _to_device(self) -> DeviceTransfer:
        return DeviceTransfer(next(self.runner.model.parameters()).device)

    @cached_property
    def defers_check(self) -> bool:
        """Whether the NaN check of an update is read one step later, so that no step waits for the device."""
        return defers_check(self.runner.optim_wrapper.optimizer, next(self.runner.model.parameters()).device)

    def __call__(
        self, iteration: int, batches: Mapping[str, Batch], updates: Sequence[Mapping[str, Objectives]]
    ) -> dict[str, Tensor]:
        """For each update of the step: backward through its streams, in one pass or several, then update the weights.

        Args:
            iteration: From 0; seeds the random numbers of the step.
            batches: A batch of every stream that takes part.
            updates: For each update the objectives of its streams, with the factors of their losses by name.

        Returns:
            Detached scalars: ``loss`` (the sum), ``<stream>.<name>`` of everything that the objectives returned,
            weighted, and ``grad_norm`` (of the last update) where gradients are clipped. Scalars of a skipped update
            are included, NaN or not, where the check is deferred; elsewhere only finite ones.

        Raises:
            NotFiniteError: If a loss or a gradient is NaN or infinite, and the run is to stop at that: in this update,
                or in the previous one where the check is deferred. The update that it belongs to is not made.
        """
        model, wrapper = self.runner.model, self.runner.optim_wrapper
        torch.manual_seed(derive_seed(self.runner.seed, "step", iteration, rank()))
        unwrap_model(model).clamp_temperature()
        scalars: dict[str, Tensor] = {"loss": torch.zeros((), device=next(model.parameters()).device)}
        updated = False
        for number, update in enumerate(updates, start=1):
            random = random_states()
            scalars |= self._add_gradients(iteration, batches, update, scalars["loss"])
            self.guard.read_deferred()
            check = check_finite(scalars["loss"], model, wrapper.scaler)
            used = {name: batches[name] for name in update}
            record = UpdateRecord(check, dict(scalars), used, self._facts(iteration, update, random))
            if not self.defers_check and not self.guard.check_now(record):
                wrapper.drop()
                scalars = {key: value for key, value in scalars.items() if torch.isfinite(value)}
                scalars.setdefault("loss", torch.zeros((), device=next(model.parameters()).device))
            self.has_updated = True
            bad = check.anywhere if self.defers_check else None
            with explaining_out_of_memory(partial(self._describe_pass, iteration, list(update), " (the update)")):
                updated = wrapper.finish_iteration(bad) if number == len(updates) else wrapper.update_now(bad)
            if self.defers_check:
                self.guard.defer(record)
        if updated and wrapper.grad_norm is not None:
            scalars["grad_norm"] = wrapper.grad_norm
        return scalars

    def _add_gradients(
        self, iteration: int, batches: Mapping[str, Batch], update: Mapping[str, Objectives], total: Tensor
    ) -> dict[str, Tensor]:
        """Backward through the streams of one update, pass by pass; their scalars, with ``total`` added to ``loss``."""
        scalars, passes = {"loss": total}, split_into_passes(update, self.passes)
        for names in passes:
            with explaining_out_of_memory(partial(self._describe_pass, iteration, names)):
                moved = {name: self._to_device(batches[name]) for name in names}
                sync = names is passes[-1] and self.runner.optim_wrapper.should_sync()
                loss, outputs = self._backward(moved, update, sync)
            scalars["loss"] = scalars["loss"] + loss
            scalars |= named_scalars(outputs)
        return scalars

    def _backward(
        self, batches: Mapping[str, Batch], update: Mapping[str, Objectives], sync: bool
    ) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
        """One forward and backward pass: the detached loss, and the losses and metrics by stream."""
        model, wrapper = self.runner.model, self.runner.optim_wrapper
        with gradient_sync(model, sync):
            with autocast(wrapper.precision, self._to_device.device):
                outputs = compute_losses(model, batches, update)
            loss = sum(sum_of_losses(outputs[name]) for name in batches)
            wrapper.add_gradients(loss)
        return loss.detach(), outputs

    def _describe_pass(self, iteration: int, names: Sequence[str], stage: str = "") -> str:
        settings = {
            "passes": self.passes,
            "precision": self.runner.optim_wrapper.precision,
            "activation_checkpointing": (self.runner.cfg.get("model") or {}).get("activation_checkpointing", False),
        }
        streams = [self.streams[name] for name in names]
        return describe_pass(f"iteration {iteration + 1}{stage}", streams, self._to_device.device, settings)

    def _facts(self, iteration: int, update: Mapping[str, Objectives], random: Mapping[str, Any]) -> dict[str, Any]:
        """Entries of a dump of an update besides scalars and batches, as plain values."""
        wrapper = self.runner.optim_wrapper
        return {
            "iteration": iteration,
            "seed": self.runner.seed,
            "rank": rank(),
            "world_size": world_size(),
            "config": str(self.runner.cfg.filename or ""),
            "last_checkpoint": str(last_checkpoint(self.runner) or ""),
            "random": dict(random),
            "update": {n: dict(o) if isinstance(o, Mapping) else list(o) for n, o in update.items()},
            "passes": split_into_passes(update, self.passes),
            "precision": wrapper.precision,
            "accumulative_counts": accumulative_counts(wrapper),
        }


def takes_several_batches(model: Any) -> bool:
    """Whether a model's ``forward`` takes batches by stream (``takes_several_batches``), not only one batch."""
    return getattr(model, "takes_several_batches", False)
