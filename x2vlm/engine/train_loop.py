"""Training loop: in each iteration one batch of every stream and a training step; evaluations in between."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.runner import BaseLoop
from torch import nn

from x2vlm.data.batch import Batch
from x2vlm.data.streams import Stream
from x2vlm.distributed import all_gather_objects, world_size
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.distributed.stall import RankProgress, explaining_stalls
from x2vlm.engine.epoch_length import check_global_batch, epoch_length
from x2vlm.engine.failures.bad_record_report import report_bad_records
from x2vlm.engine.failures.data_workers import WorkerWatch, saving_on_data_failure
from x2vlm.engine.failures.last_step import describe_last_checkpoint, save_last_step
from x2vlm.engine.failures.nan_guard import UpdateGuard
from x2vlm.engine.failures.nan_policy import BadNumbers
from x2vlm.engine.hooks.data_waits import DataWaits
from x2vlm.engine.hooks.final_test import test_best
from x2vlm.engine.loader_facade import LoaderFacade
from x2vlm.engine.metrics_log import METRICS_FILE, evaluated_iterations
from x2vlm.engine.optim.optim_wrapper import accumulative_counts
from x2vlm.engine.step_plan import Objectives, StepPlan, is_video_stream
from x2vlm.engine.stream_weights import apply_stream_weights
from x2vlm.engine.train_step import TrainStep
from x2vlm.registry import LOOPS


@LOOPS.register_module()
class MixedTrainLoop(BaseLoop):
    """Train on several streams: one batch of each in every step, and one update from the summed gradient.

    All randomness of a step is derived from (seed, iteration, rank), so a resumed run makes the same steps as one that
    was not interrupted.

    Args:
        runner: The runner.
        dataloader: The streams, built, by name.
        max_iters: Iterations to train. Either this or ``max_epochs``.
        max_epochs: Passes over the data of ``epoch_of``. ``val_interval`` and ``val_begin`` then count epochs.
        epoch_of: The stream whose data set defines an epoch; by default the first one.
        epoch_size: Number of records in an epoch; by default that of the data set (a published run may state another).
        val_interval: Iterations (or epochs) between evaluations; None evaluates only at the end.
        val_begin: First iteration (or epoch) after which the interval counts.
        global_batch: Pairs that every update must have, over all processes and accumulated iterations, by stream:
            ``dict(image=1024)``. A run that would have another number does not start.
        plan: ``turns``, ``until`` and ``updates`` of :class:`~x2vlm.engine.step_plan.StepPlan`: steps that differ from
            each other, objectives that end early, several updates a step. None: all steps are alike, with one update.
        passes: ``together``: all streams but videos go forward and backward as one, videos before them by themselves,
            as published. ``by_stream``: each by itself, slower and in the memory of the largest stream only. The
            gradients are the same. A model that takes one batch at a time (without ``takes_several_batches``) gets
            one.
        bad_numbers: Policy for NaN and infinity: arguments of
            :class:`~x2vlm.engine.failures.nan_policy.BadNumbers`.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Mapping[str, Stream],
        max_iters: int | None = None,
        max_epochs: int | None = None,
        epoch_of: str | None = None,
        epoch_size: int | None = None,
        val_interval: int | None = None,
        val_begin: int = 1,
        global_batch: Mapping[str, int] | None = None,
        plan: Mapping[str, Any] | None = None,
        passes: str = "together",
        bad_numbers: Mapping[str, Any] | None = None,
    ) -> None:
        _check_length(max_iters, max_epochs, val_interval)
        self.streams = in_order_of_backward(dataloader)
        switched_off = {name for name in runner.cfg.get("streams") or {} if name not in dataloader}  # of weight 0
        counts = accumulative_counts(runner.optim_wrapper)
        expected = {name: pairs for name, pairs in (global_batch or {}).items() if name not in switched_off}
        check_global_batch(expected, dataloader, world_size(), counts)
        self.epoch_iters = 1  # iterations in the unit of the arguments
        if max_epochs is not None:
            self.epoch_iters = epoch_length(dataloader, epoch_of, epoch_size, world_size(), counts)
        max_iters = (max_epochs or max_iters) * self.epoch_iters
        super().__init__(runner, LoaderFacade(max_iters, sum(s.batch_size for s in self.streams.values())))
        objectives = {name: self._objectives(stream) for name, stream in self.streams.items()}
        self.plan = StepPlan(objectives, **(plan or {}), switched_off=switched_off)
        if len(self.plan.updates) > 1 and counts > 1:
            raise ValueError(f"plan.updates are several a step, which cannot be accumulated over {counts} iterations.")
        self.bad_numbers = BadNumbers(**(bad_numbers or {}))
        self.guard = UpdateGuard(runner, self.bad_numbers)
        self.step = TrainStep(runner, self.streams, passes, self.guard)
        self.data_waits = DataWaits(self.guard.is_device_idle)
        self._workers, self._progress = WorkerWatch(), RankProgress()
        self.max_iters, self.max_epochs = max_iters, 1
        self.val_interval = max_iters if val_interval is None else val_interval * self.epoch_iters
        self.val_begin = val_begin * self.epoch_iters
        self.stop_training = False
        self._iter = self._epoch = 0  # set by MMEngine when it resumes

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    @property
    def epoch(self) -> int:
        """Always 0: streams have no common end."""
        return self._epoch

    def run(self) -> nn.Module:
        """Train to ``max_iters``, or until a hook sets ``stop_training``."""
        self.runner.call_hook("before_train")
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for stream in self.streams.values():
            stream.start(self.runner.seed)
        self._workers.start()
        try:
            if self._is_evaluation_missing():
                self._evaluate()
            while self._iter < self.max_iters and not self.stop_training:
                with self._explaining_stalls(f"iteration {self._iter + 1}"):
                    self.run_iter()
                if self._is_time_to_evaluate():
                    self._evaluate()
            self.read_deferred_check()
            self.runner.call_hook("after_train_epoch")
            report_bad_records(self.runner)
            if not self.stop_training:
                self._test_at_end()
        finally:  # after an error, too: the progress bar is closed, and signal handlers are restored
            self._workers.stop()
            for stream in self.streams.values():
                stream.stop()
            self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self) -> None:
        """Draw the batches of an iteration, make its step, and count it."""
        weights = {name: stream.weight for name, stream in self.streams.items()}
        updates = [apply_stream_weights(update, weights) for update in self.plan.at(self.runner.seed, self._iter)]
        batches = self._draw([name for update in updates for name in update])
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batches)
        outputs = self.step(self._iter, batches, updates)
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batches, outputs=outputs)
        self._iter += 1

    def read_deferred_check(self) -> None:
        """Wait until the last update is known to be finite, or was skipped; checkpoints are written only then.

        Raises:
            NotFiniteError: If it is not finite, and the run is to stop at that.
        """
        self.guard.read_deferred()

    def state_dict(self) -> dict[str, Any]:
        """Positions of the streams, and counts of bad records and bad numbers; plain values."""
        return {
            "draws": {name: stream.draws for name, stream in self.streams.items()},
            "bad_records": self.runner.bad_record_log.state_dict(),
            "bad_numbers": self.bad_numbers.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a :meth:`state_dict`. A stream that it does not have starts at its beginning."""
        for name, stream in self.streams.items():
            stream.draws = state["draws"].get(name, 0)
        self.runner.bad_record_log.load_state_dict(state["bad_records"])
        if "bad_numbers" in state:
            self.bad_numbers.load_state_dict(state["bad_numbers"])

    def _objectives(self, stream: Stream) -> Objectives:
        """Objectives of a stream; all of the model where it names none."""
        return tuple(unwrap_model(self.runner.model).objectives) if stream.objectives is None else stream.objectives

    def _draw(self, names: Sequence[str]) -> dict[str, Batch]:
        """The next batch of some streams; where that fails, the state before it is restored and saved."""
        with self._saving_on_data_failure():
            self._workers.check()
            batches = {}
            for name in names:
                with self.data_waits.waiting_for(name):
                    batches[name] = next(self.streams[name])
            for name, batch in batches.items():
                self.runner.bad_record_log.note(name, batch)
        return batches

    def _evaluate(self) -> None:
        self.read_deferred_check()
        work = f"the evaluation after iteration {self._iter}"
        with self._explaining_stalls(work), self._saving_on_data_failure():
            self.runner.val_loop.run()
        self.runner.model.train()

    def _test_at_end(self) -> None:
        with self._explaining_stalls("the test at the end"):
            test_best(self.runner)

    def _is_time_to_evaluate(self) -> bool:
        if self.runner.val_loop is None or self.stop_training or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self.max_iters

    def _is_evaluation_missing(self) -> bool:
        """Whether a resumed run was killed between a step and the evaluation due after it."""
        if self.runner.val_loop is None or not self._iter or not self._is_time_to_evaluate():
            return False
        done = self._iter in evaluated_iterations(Path(self.runner.work_dir) / METRICS_FILE)
        return not all_gather_objects(done)[0]

    def _saving_on_data_failure(self) -> AbstractContextManager:
        return saving_on_data_failure(self.runner, partial(self.load_state_dict, self.state_dict()))

    def _explaining_stalls(self, work: str) -> AbstractContextManager:
        """Around code with collectives; where another process does not answer, the last finished step is saved."""
        self._progress.report(work)
        rewind = partial(self._rewind, self.state_dict())
        self.step.has_updated = False
        return explaining_stalls(self._progress, partial(self._save_last_step, rewind))

    def _rewind(self, state: Mapping[str, Any]) -> None:
        """Restore the state after the last step; counts of a check that was deferred until now belong to that step."""
        counts = {"bad_numbers": self.bad_numbers.state_dict()} if self.step.defers_check else {}
        self.load_state_dict({**state, **counts})

    def _save_last_step(self, rewind: Callable[[], None]) -> str:
        rewind()
        return describe_last_checkpoint(self.runner) if self.step.has_updated else save_last_step(self.runner)


def in_order_of_backward(streams: Mapping[str, Stream]) -> dict[str, Stream]:
    """Video streams (``video``, ``video_...``) first, as published: their activations are the largest."""
    return dict(sorted(streams.items(), key=lambda item: not is_video_stream(item[0])))


def _check_length(max_iters: int | None, max_epochs: int | None, val_interval: int | None) -> None:
    if (max_iters is None) == (max_epochs is None):
        raise ValueError(f"max_iters={max_iters} and max_epochs={max_epochs}: give one of them.")
    if min(number for number in (max_iters, max_epochs, val_interval, 1) if number is not None) < 1:
        values = f"max_iters={max_iters}, max_epochs={max_epochs} and val_interval={val_interval}"
        raise ValueError(f"{values} are counted from 1 on.")
