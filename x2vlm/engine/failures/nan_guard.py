"""Guard that keeps NaN out of the weights; on a GPU an update is checked while the next step runs, without a wait."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.failures.nan_check import AsyncRead, FiniteCheck, describe_bad_update
from x2vlm.engine.failures.nan_policy import BadNumbers
from x2vlm.engine.failures.step_dump import write_dump


@dataclass(frozen=True)
class UpdateRecord:
    """What is needed to describe and dump an update, until its check is read.

    Attributes:
        check: Result of the NaN check, on the device.
        scalars: ``loss``, and ``<stream>.<name>`` of everything that the objectives returned, on the device.
        batches: In host memory, by stream.
        facts: The other entries of a dump, plain values: iteration, random states, objectives, ...
    """

    check: FiniteCheck
    scalars: Mapping[str, Tensor]
    batches: Mapping[str, Batch]
    facts: Mapping[str, Any]


class UpdateGuard:
    """Checks updates: before they are made, which waits for the device, or deferred by one step.

    Deferring needs an optimizer that skips a bad update on the device
    (:func:`~x2vlm.engine.failures.nan_check.skips_on_device`). The next update is not launched before the last check is
    read, so the weights are still those of the bad step when it is described and dumped.

    Args:
        runner: Of the model, the optimizer and the work folder.
        policy: What is done about bad updates; counts them.
    """

    def __init__(self, runner: Any, policy: BadNumbers) -> None:
        self.runner, self.policy = runner, policy
        self._deferred: tuple[UpdateRecord, AsyncRead, bool] | None = None

    def check_now(self, record: UpdateRecord) -> bool:
        """Whether an update, which has not been made yet, is finite; waits for the device.

        Raises:
            NotFiniteError: If it is not, and the run is to stop.
        """
        return self._is_good(record, record.check.anywhere.item() > 0)

    def defer(self, record: UpdateRecord) -> None:
        """Check an update in :meth:`read_deferred`: one that was launched, or is part of an unfinished accumulation."""
        wrapper = self.runner.optim_wrapper
        flags = [record.check.anywhere, torch.zeros_like(record.check.anywhere)]
        if wrapper.skipped is not None:
            flags[1] = wrapper.skipped.to(flags[0])
        self._deferred = record, AsyncRead(torch.stack(flags)), not wrapper.should_update()

    def read_deferred(self) -> None:
        """Read the deferred check, if there is one; waits for the device if it is not finished.

        Raises:
            NotFiniteError: If the update is not finite, and the run is to stop.
        """
        if self._deferred is None:
            return
        (record, flags, accumulating), self._deferred = self._deferred, None
        bad, skipped = flags.tolist()
        if skipped:
            self.runner.optim_wrapper.uncount_update()
        if not self._is_good(record, bad > 0) and accumulating:
            self.runner.optim_wrapper.drop()  # with the gradients of later iterations of the same accumulation

    def is_device_idle(self) -> bool:
        """Whether the device has finished the last update, as far as is known without waiting."""
        return self._deferred is None or self._deferred[1].is_ready()

    def _is_good(self, record: UpdateRecord, bad: bool) -> bool:
        if not bad:
            self.policy.in_row = 0
            return True
        text = describe_bad_update(record.check, record.scalars, record.batches)
        self.policy.handle(text, record.facts["iteration"], self._dump(record))
        return False

    def _dump(self, record: UpdateRecord) -> str:
        if self.policy.dumped >= self.policy.max_dumps:
            return f"No dump is written: there are {self.policy.dumped} already."
        self.policy.dumped += 1
        facts = {**record.facts, "scalars": {name: float(value) for name, value in record.scalars.items()}}
        return write_dump(Path(self.runner.work_dir), facts, record.batches, unwrap_model(self.runner.model))
