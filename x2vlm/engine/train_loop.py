"""The mixed training step over several streams, and the evaluation of everything by name."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.model import is_model_wrapper
from mmengine.runner import BaseLoop
from torch import Tensor, nn

from x2vlm.building import suggestion
from x2vlm.data.batch import Batch
from x2vlm.data.loader import EvaluationLoader
from x2vlm.data.sampler import derive_seed
from x2vlm.data.streams import Stream
from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.device_transfer import DeviceTransfer
from x2vlm.engine.distributed.fsdp import gathered
from x2vlm.engine.distributed.launch import Whereabouts, naming_the_stalled
from x2vlm.engine.epoch_length import check_global_batch, epoch_length
from x2vlm.engine.failures.bad_numbers import BadNumbers, random_states
from x2vlm.engine.failures.bad_record_report import report_bad_records
from x2vlm.engine.failures.data_workers import WorkerWatch, last_checkpoint, save_last_step, saving_if_data_fail
from x2vlm.engine.failures.finite_check import check_finite, defers_check
from x2vlm.engine.failures.out_of_memory import describe_pass, explaining_out_of_memory
from x2vlm.engine.failures.update_guard import UpdateGuard, UpdateRecord
from x2vlm.engine.hooks.data_waits import DataWaits
from x2vlm.engine.hooks.logging_hooks import hook_of
from x2vlm.engine.optim.optim_wrapper import autocast
from x2vlm.engine.step_plan import PASSES, Objectives, StepPlan, in_passes, is_video
from x2vlm.engine.total_loss import losses_of, named_scalars, sum_of_losses, with_stream_weights
from x2vlm.registry import LOOPS

METRICS_FILE = "metrics.jsonl"


class LoaderFacade:
    """What MMEngine's hooks ask of a data loader, for loops that have several.

    Args:
        length: Batches until the end.
        batch_size: Pairs in all batches of a step.
    """

    sampler = None
    batch_sampler = None

    def __init__(self, length: int, batch_size: int) -> None:
        self.length, self.batch_size = length, batch_size
        self.dataset = SimpleNamespace(metainfo={})

    def __len__(self) -> int:
        return self.length


@LOOPS.register_module()
class MixedTrainLoop(BaseLoop):
    """One batch of every stream in each step, and one update from the summed gradient.

    Everything random in a step follows from (seed, iteration, rank), so a run
    that is resumed makes the very steps that it would have made.

    Args:
        runner: The runner.
        dataloader: The streams, built, by name.
        max_iters: Iterations to train. Either this or ``max_epochs``.
        max_epochs: Passes over the data of ``epoch_of``. ``val_interval`` and ``val_begin`` then count epochs.
        epoch_of: The stream whose data are an epoch; the first one if none is named.
        epoch_size: How many records are an epoch, where they are not to be counted (as for a published run).
        val_interval: Iterations (or epochs) between evaluations; None evaluates only at the end.
        val_begin: First iteration (or epoch) after which the interval counts.
        global_batch: Pairs that every update must have, over all processes and accumulated iterations, by stream:
            ``dict(image=1024)``. A run that would have another number does not start.
        plan: ``turns``, ``until`` and ``updates`` of :class:`~x2vlm.engine.step_plan.StepPlan`: steps that differ from
            each other, objectives that are given up, several updates a step. None: all steps are alike, with one
            update.
        passes: ``together``: all streams but videos go forward and backward as one, videos before them by themselves,
            as published. ``by_stream``: each by itself, slower and in the memory of the largest stream only. The
            gradients are the same. A model that takes one batch at a time (without ``encode_together``) gets one.
        bad_numbers: What to do about NaN and infinity: arguments of
            :class:`~x2vlm.engine.failures.bad_numbers.BadNumbers`.
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
        if (max_iters is None) == (max_epochs is None):
            raise ValueError(f"max_iters={max_iters} and max_epochs={max_epochs}: give one of them.")
        if min(one for one in (max_iters, max_epochs, val_interval, 1) if one is not None) < 1:
            given = f"max_iters={max_iters}, max_epochs={max_epochs} and val_interval={val_interval}"
            raise ValueError(f"{given} are counted from 1 on.")
        self.streams = in_order_of_backward(dataloader)
        absent = {name for name in runner.cfg.get("streams") or {} if name not in dataloader}  # of weight 0
        counts = accumulation(runner.optim_wrapper)
        wanted = {name: pairs for name, pairs in (global_batch or {}).items() if name not in absent}
        check_global_batch(wanted, dataloader, world_size(), counts)
        self.epoch_iters = 1  # iterations in the unit that the arguments count
        if max_epochs is not None:
            self.epoch_iters = epoch_length(dataloader, epoch_of, epoch_size, world_size(), counts)
        max_iters = (max_epochs or max_iters) * self.epoch_iters
        super().__init__(runner, LoaderFacade(max_iters, sum(s.batch_size for s in self.streams.values())))
        self.plan = StepPlan({n: self._objectives(s) for n, s in self.streams.items()}, **(plan or {}), absent=absent)
        if len(self.plan.updates) > 1 and counts > 1:
            raise ValueError(f"plan.updates are several a step, which cannot be accumulated over {counts} iterations.")
        if passes not in PASSES:
            raise ValueError(f"passes is {passes!r}.{suggestion(passes, PASSES)} Accepted: {', '.join(PASSES)}.")
        self.passes = passes if hasattr(unwrapped(runner.model), "encode_together") else "by_stream"
        self._workers = WorkerWatch()
        self._whereabouts = Whereabouts()
        self.bad_numbers = BadNumbers(**(bad_numbers or {}))
        self.guard = UpdateGuard(runner, self.bad_numbers)
        self.data_waits = DataWaits(self.guard.is_device_idle)
        self.max_iters, self.max_epochs = max_iters, 1
        self.val_interval = max_iters if val_interval is None else val_interval * self.epoch_iters
        self.val_begin = val_begin * self.epoch_iters
        self.stop_training = False
        self._iter = self._epoch = 0  # MMEngine sets them when it resumes

    @property
    def iter(self) -> int:
        """Iterations done."""
        return self._iter

    @property
    def epoch(self) -> int:
        """Always 0: streams have no common end."""
        return self._epoch

    @cached_property
    def _to_device(self) -> DeviceTransfer:
        return DeviceTransfer(next(self.runner.model.parameters()).device)

    @cached_property
    def defers_check(self) -> bool:
        """Whether an update is judged one step later, which spares a wait for the device in every step."""
        return defers_check(self.runner.optim_wrapper.optimizer, next(self.runner.model.parameters()).device)

    def settle(self) -> None:
        """Wait until the last update is known to be good, or was left out; checkpoints are written only then.

        Raises:
            NotFiniteError: If it is bad, and the run is to stop at that.
        """
        self.guard.settle()

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
                with self._naming_the_stalled(f"iteration {self._iter + 1}"):
                    self.run_iter()
                if self._is_time_to_evaluate():
                    self._evaluate()
            self.settle()
            self.runner.call_hook("after_train_epoch")
            report_bad_records(self.runner)
        finally:  # after an error, too: a live line is closed, and signals are given back
            self._workers.stop()
            for stream in self.streams.values():
                stream.stop()
            self.runner.call_hook("after_train")
        return self.runner.model

    def run_iter(self) -> None:
        """Draw, step, count."""
        weights = {name: stream.weight for name, stream in self.streams.items()}
        updates = [with_stream_weights(update, weights) for update in self.plan.at(self.runner.seed, self._iter)]
        batches = self._draw([name for update in updates for name in update])
        self.runner.call_hook("before_train_iter", batch_idx=self._iter, data_batch=batches)
        outputs = self.step(batches, updates)
        self.runner.call_hook("after_train_iter", batch_idx=self._iter, data_batch=batches, outputs=outputs)
        self._iter += 1

    def step(self, batches: Mapping[str, Batch], updates: Sequence[Mapping[str, Objectives]]) -> dict[str, Tensor]:
        """Backward through all streams, in one pass or several, then update; so for each update of the step.

        Args:
            batches: A batch of every stream that takes part.
            updates: For each update the objectives of its streams with the factors of their losses, by name.

        Returns:
            Detached scalars: ``loss`` (the sum), ``<stream>.<name>`` of all that the objectives gave, weighted, and
            ``grad_norm`` (of the last update) where gradients are clipped.

            On a GPU the scalars of an update that was left out are in it, NaN or not; elsewhere only finite ones.

        Raises:
            NotFiniteError: If a loss or a gradient is NaN or infinite, and the run is to stop at that: in this update,
                or in the last one where the check is deferred. The update that it belongs to is not made.
        """
        model, wrapper = self.runner.model, self.runner.optim_wrapper
        torch.manual_seed(derive_seed(self.runner.seed, "step", self._iter, rank()))
        unwrapped(model).clamp_temperature()
        scalars: dict[str, Tensor] = {"loss": torch.zeros((), device=next(model.parameters()).device)}
        for number, update in enumerate(updates, start=1):
            random = random_states()
            self._add_gradients(batches, update, scalars)
            self.settle()
            check = check_finite(scalars["loss"], model, wrapper.scaler)
            used = {name: batches[name] for name in update}
            record = UpdateRecord(check, dict(scalars), used, self._facts(update, random))
            if not self.defers_check and not self.guard.is_good(record):
                wrapper.drop()
                scalars = {key: value for key, value in scalars.items() if torch.isfinite(value)}
                scalars.setdefault("loss", torch.zeros((), device=next(model.parameters()).device))
            self._has_updated = True
            bad = check.anywhere if self.defers_check else None
            with explaining_out_of_memory(partial(self._describe_pass, list(update), " (the update)")):
                updated = wrapper.finish_iteration(bad) if number == len(updates) else wrapper.update_now(bad)
            if self.defers_check:
                self.guard.watch(record)
        if updated and wrapper.grad_norm is not None:
            scalars["grad_norm"] = wrapper.grad_norm
        return scalars

    def _draw(self, names: Sequence[str]) -> dict[str, Batch]:
        """The next batch of some streams; where that fails, the state is that before it, and saved."""
        with self._saving_if_data_fail():
            self._workers.check()
            batches = {}
            for name in names:
                with self.data_waits.waiting_for(name):
                    batches[name] = next(self.streams[name])
            for name, batch in batches.items():
                self.runner.ledger.note(name, batch)
        return batches

    def _evaluate(self) -> None:
        self.settle()
        place = f"the evaluation after iteration {self._iter}"
        with self._naming_the_stalled(place), self._saving_if_data_fail():
            self.runner.val_loop.run()
        self.runner.model.train()

    def _saving_if_data_fail(self) -> AbstractContextManager:
        return saving_if_data_fail(self.runner, partial(self.load_state_dict, self.state_dict()))

    def _naming_the_stalled(self, place: str) -> AbstractContextManager:
        """Around what waits for other processes; where one does not answer, the last whole step is saved."""
        self._whereabouts.mark(place)
        rewind = partial(self._rewind, self.state_dict())
        self._has_updated = False
        return naming_the_stalled(self._whereabouts, partial(self._save_last_step, rewind))

    def _rewind(self, state: Mapping[str, Any]) -> None:
        """Back to the end of the last step; what a deferred check has found since belongs to that step."""
        counts = {"bad_numbers": self.bad_numbers.state_dict()} if self.defers_check else {}
        self.load_state_dict({**state, **counts})

    def _save_last_step(self, rewind: Callable[[], None]) -> str:
        rewind()
        return last_checkpoint(self.runner) if self._has_updated else save_last_step(self.runner)

    def _add_gradients(
        self, batches: Mapping[str, Batch], update: Mapping[str, Objectives], scalars: dict[str, Tensor]
    ) -> None:
        """Backward through the streams of one update; what they gave is added to ``scalars``."""
        passes = in_passes(update, self.passes)
        for names in passes:
            with explaining_out_of_memory(partial(self._describe_pass, names)):
                moved = {name: self._to_device(batches[name]) for name in names}
                loss, outputs = self._backward(moved, update, exchange=names is passes[-1])
            scalars["loss"] = scalars["loss"] + loss
            scalars |= named_scalars(outputs)

    def _backward(
        self, batches: Mapping[str, Batch], update: Mapping[str, Objectives], exchange: bool
    ) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
        """One pass forward and backward: the detached loss, and what the objectives gave."""
        model, wrapper = self.runner.model, self.runner.optim_wrapper
        with exchanging_gradients(model, exchange and (wrapper.should_sync() or len(self.plan.updates) > 1)):
            with autocast(wrapper.precision, self._to_device.device):
                outputs = losses_of(model, batches, update)
            loss = sum(sum_of_losses(outputs[name]) for name in batches)
            wrapper.add_gradients(loss)
        return loss.detach(), outputs

    def _describe_pass(self, names: Sequence[str], part: str = "") -> str:
        settings = {
            "passes": self.passes,
            "precision": self.runner.optim_wrapper.precision,
            "activation_checkpointing": (self.runner.cfg.get("model") or {}).get("activation_checkpointing", False),
        }
        streams = [self.streams[name] for name in names]
        return describe_pass(f"iteration {self._iter + 1}{part}", streams, self._to_device.device, settings)

    def _facts(self, update: Mapping[str, Objectives], random: Mapping[str, Any]) -> dict[str, Any]:
        """What a dump says of an update, beside numbers and batches; plain."""
        keeper, wrapper = hook_of(self.runner, CheckpointHook), self.runner.optim_wrapper
        return {
            "iteration": self._iter,
            "seed": self.runner.seed,
            "rank": rank(),
            "world_size": world_size(),
            "config": str(self.runner.cfg.filename or ""),
            "last_checkpoint": str((keeper and keeper.last_ckpt) or self.runner.loaded_from or ""),
            "random": dict(random),
            "update": {n: dict(o) if isinstance(o, Mapping) else list(o) for n, o in update.items()},
            "passes": in_passes(update, self.passes),
            "precision": wrapper.precision,
            "accumulative_counts": accumulation(wrapper),
        }

    def _objectives(self, stream: Stream) -> Objectives:
        """Those of a stream, all of the model where it names none."""
        return tuple(unwrapped(self.runner.model).objectives) if stream.objectives is None else stream.objectives

    def state_dict(self) -> dict[str, Any]:
        """Where the streams are, and the bad records they met; plain."""
        draws = {name: stream.draws for name, stream in self.streams.items()}
        return {
            "draws": draws,
            "bad_records": self.runner.ledger.state_dict(),
            "bad_numbers": self.bad_numbers.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. A stream that was not there before starts at its beginning."""
        for name, stream in self.streams.items():
            stream.draws = state["draws"].get(name, 0)
        self.runner.ledger.load_state_dict(state["bad_records"])
        if "bad_numbers" in state:
            self.bad_numbers.load_state_dict(state["bad_numbers"])

    def _is_time_to_evaluate(self) -> bool:
        if self.runner.val_loop is None or self.stop_training or self._iter < self.val_begin:
            return False
        return self._iter % self.val_interval == 0 or self._iter == self.max_iters

    def _is_evaluation_missing(self) -> bool:
        """Whether a run that is resumed was killed between a step and the evaluation that belongs after it."""
        if self.runner.val_loop is None or not self._iter or not self._is_time_to_evaluate():
            return False
        done = self._iter in evaluated_iterations(Path(self.runner.work_dir) / METRICS_FILE)
        return not all_gather_objects(done)[0]


@LOOPS.register_module()
class EvaluationLoop(BaseLoop):
    """Every evaluation of the config, one after the other, each over its own data.

    The results go to the log, to the visualizer, and as one line to ``metrics.jsonl`` in the work folder.

    Args:
        runner: The runner.
        dataloader: The loaders, built, by name.
        evaluator: The metrics, built, by the same names: ``metric.evaluate(model, loader) -> {name: number}``.
        precision: ``fp32``, ``bf16`` or ``fp16`` autocast.
        mode: ``val`` during training, ``test`` alone.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Mapping[str, EvaluationLoader],
        evaluator: Mapping[str, Any],
        precision: str = "fp32",
        mode: str = "val",
    ) -> None:
        autocast(precision, torch.device("cpu"))
        self.loaders, self.evaluator = dict(dataloader), dict(evaluator)
        length = sum(map(len, self.loaders.values()))
        super().__init__(runner, LoaderFacade(length, sum(loader.batch_size for loader in self.loaders.values())))
        self.precision, self.mode = precision, mode

    def run(self) -> dict[str, float]:
        """Evaluate; ``{"<evaluation>/<metric>": number}``."""
        self.runner.call_hook(f"before_{self.mode}")
        self.runner.call_hook(f"before_{self.mode}_epoch")
        model = unwrapped(self.runner.model)
        model.eval()
        device = next(model.parameters()).device
        results: dict[str, float] = {}
        for name, metric in self.evaluator.items():
            with torch.no_grad(), gathered(self.runner.model), autocast(self.precision, device):
                found = metric.evaluate(model, self.loaders[name])
            results |= {f"{name}/{key}": float(value) for key, value in found.items()}
        results = all_gather_objects(results)[0]  # all processes go on alike: a best checkpoint is written by all
        self._write(results)
        self.runner.call_hook(f"after_{self.mode}_epoch", metrics=results)
        self.runner.call_hook(f"after_{self.mode}")
        return results

    def _write(self, results: dict[str, float]) -> None:
        if not is_main_process():
            return
        line = {"mode": self.mode, "iter": self.runner.trained_iters, "run": self.runner.timestamp}
        line |= {"checkpoint": self.runner.loaded_from} if self.mode == "test" else {}
        line |= {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "metrics": results}
        append_line(Path(self.runner.work_dir) / METRICS_FILE, json.dumps(line))


def append_line(path: Path, line: str) -> None:
    """Add a line to a file; half a line at its end, of a run that was killed, is taken off first."""
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())


def evaluated_iterations(path: Path) -> set[int]:
    """After which iterations there was an evaluation, by the lines of ``metrics.jsonl`` that are whole."""
    whole = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
    return {line["iter"] for line in map(json.loads, whole) if line["mode"] == "val"}


def in_order_of_backward(streams: Mapping[str, Stream]) -> dict[str, Stream]:
    """Streams of videos (``video``, ``video_...``) first, as published: their activations are the largest."""
    return dict(sorted(streams.items(), key=lambda item: not is_video(item[0])))


def accumulation(wrapper: Any) -> int:
    """Iterations that make an update, of an optimizer wrapper or the config of one."""
    if isinstance(wrapper, Mapping):
        return wrapper.get("accumulative_counts", 1)
    return getattr(wrapper, "_accumulative_counts", 1)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside its distributed wrapper, if it has one."""
    return model.module if is_model_wrapper(model) else model


@contextmanager
def exchanging_gradients(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Inside, gradients are averaged over processes, or only summed up locally; where there is one process, neither."""
    with nullcontext() if wanted or not hasattr(model, "no_sync") else model.no_sync():
        yield
