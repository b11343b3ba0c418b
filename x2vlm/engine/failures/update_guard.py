"""No bad number gets into the weights; on a GPU nobody waits to know: an update is judged while the next step runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.model import is_model_wrapper
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.engine.failures.bad_numbers import BadNumbers, write_dump
from x2vlm.engine.failures.finite_check import DelayedRead, FiniteCheck, describe_bad


@dataclass(frozen=True)
class UpdateRecord:
    """All that is needed to tell of an update, and to have it again, until it is known to be good.

    Attributes:
        check: Whether its numbers are finite, on the device.
        scalars: What its objectives gave, on the device.
        batches: In main memory, by stream.
        facts: The rest of a dump, plain: iteration, random states, objectives, ...
    """

    check: FiniteCheck
    scalars: Mapping[str, Tensor]
    batches: Mapping[str, Batch]
    facts: Mapping[str, Any]


class UpdateGuard:
    """Judges updates: before they are made, which waits for the device, or one step later.

    The second way needs an optimizer that leaves out a bad update on the device
    (:func:`~x2vlm.engine.failures.finite_check.skips_on_device`). The next update is not launched before the last one
    is known, so the weights are still those of a bad step when it is told and dumped.

    Args:
        runner: Of the model, the optimizer and the work folder.
        policy: What is done about bad updates; counts them.
    """

    def __init__(self, runner: Any, policy: BadNumbers) -> None:
        self.runner, self.policy = runner, policy
        self._watched: tuple[UpdateRecord, DelayedRead, bool] | None = None

    def is_good(self, record: UpdateRecord) -> bool:
        """Judge an update that has not been made; waits for the device.

        Raises:
            NotFiniteError: If it is bad, and the run is to stop at that.
        """
        return self._judge(record, record.check.anywhere.item() > 0)

    def watch(self, record: UpdateRecord) -> None:
        """Judge an update later, which has been launched, or belongs to an accumulation that goes on."""
        wrapper = self.runner.optim_wrapper
        flags = [record.check.anywhere, torch.zeros_like(record.check.anywhere)]
        if wrapper.skipped is not None:
            flags[1] = wrapper.skipped.to(flags[0])
        self._watched = record, DelayedRead(torch.stack(flags)), not wrapper.should_update()

    def settle(self) -> None:
        """Judge what is watched, if anything is; waits for the device where it has not come so far.

        Raises:
            NotFiniteError: If it is bad, and the run is to stop at that.
        """
        if self._watched is None:
            return
        (record, flags, accumulating), self._watched = self._watched, None
        bad, skipped = flags.tolist()
        if skipped:
            self.runner.optim_wrapper.forget_update()
        if not self._judge(record, bad > 0) and accumulating:
            self.runner.optim_wrapper.drop()  # with what a later iteration of the same accumulation has added

    def is_device_idle(self) -> bool:
        """Whether the device has done the last update, as far as that is known without waiting."""
        return self._watched is None or self._watched[1].has_arrived()

    def _judge(self, record: UpdateRecord, bad: bool) -> bool:
        if not bad:
            self.policy.in_row = 0
            return True
        text = describe_bad(record.check, record.scalars, record.batches)
        self.policy.met(text, record.facts["iteration"], self._dump(record))
        return False

    def _dump(self, record: UpdateRecord) -> str:
        if self.policy.dumped >= self.policy.max_dumps:
            return f"No dump is written: there are {self.policy.dumped} already."
        self.policy.dumped += 1
        model = self.runner.model.module if is_model_wrapper(self.runner.model) else self.runner.model
        facts = {**record.facts, "scalars": {name: float(value) for name, value in record.scalars.items()}}
        return write_dump(Path(self.runner.work_dir), facts, record.batches, model)
