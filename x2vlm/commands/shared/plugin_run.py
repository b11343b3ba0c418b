"""Run what a plugin's config names once: records, transforms, losses, what is learned, metrics; say what is wrong."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.data.record import RecordError
from x2vlm.data.record_contract import misspelt_keys
from x2vlm.data.sampler import seeded
from x2vlm.data.streams import Stream, build_evaluation_loader, build_streams
from x2vlm.engine.eval_loop import build_metric
from x2vlm.engine.metric_contract import check_calls, nan_warning, result_problem, state_of, state_problem
from x2vlm.part_errors import PartError, is_foreign, naming_the_part
from x2vlm.registry import MODELS, TOKENIZERS
from x2vlm.testing import assert_adapter, assert_boxes_follow, assert_transform

_RECORDS = 3  # at either end of a data set


class PluginRun:
    """One run of a config.

    Args:
        cfg: The config, checked.
        with_data: Whether data are read; without, only the model and the metrics are built.

    Attributes:
        done: What was run, a phrase each.
        problems: What is wrong although nothing was raised, a sentence each.
        notes: What may be meant, a sentence each.
    """

    def __init__(self, cfg: Any, with_data: bool = True) -> None:
        self.cfg, self.with_data = cfg, with_data
        self.done: list[str] = []
        self.problems: list[str] = []
        self.notes: list[str] = []

    def run(self) -> None:
        """Build and run everything once.

        Raises:
            ConfigError: If a part cannot be built, or breaks its contract when it is.
            PartError: If one breaks it later, or raises.
        """
        cfg = self.cfg
        tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer") if cfg.get("tokenizer") else None
        with seeded(0):
            model = build(MODELS, cfg.model, "model", tokenizer=tokenizer) if cfg.get("model") else None
        self.done += ["model built"] * (model is not None)
        for name, evaluation in (cfg.get("evaluations") or {}).items():
            self._evaluate(name, evaluation, model, tokenizer)
        if self.with_data and cfg.get("streams") and model is not None:
            self._train(model, build_streams(cfg.streams, tokenizer, cfg.get("data_root")))

    def _evaluate(self, name: str, cfg: Mapping[str, Any], model: Any, tokenizer: Any) -> None:
        """Build a metric; a plugin's evaluates the first batch."""
        metric = build_metric(name, cfg.get("metric"), tokenizer, ".", self.cfg.get("data_root"))
        check_calls(metric, model, f"evaluations.{name}.metric")
        self.done.append(f"metric of {name}")
        if not (is_foreign(metric) and self.with_data and model is not None):
            return
        loader_cfg = {key: value for key, value in cfg.items() if key != "metric"} | {"num_workers": 0}
        loader = build_evaluation_loader(name, loader_cfg, tokenizer, data_root=self.cfg.get("data_root"))
        with seeded(0), torch.no_grad(), naming_the_part(metric, f"evaluation '{name}'"):
            before = state_of(model)
            result = metric.evaluate(model.eval(), _FirstBatch(loader))
        if problem := result_problem(result):
            self.problems.append(f"evaluation '{name}': {type(metric).__name__}.evaluate returned {problem}")
        elif problem := state_problem(metric, model, before):
            self.problems.append(f"evaluation '{name}': {problem}")
        elif not result:  # the first batch may have nothing to measure
            self.notes.append(f"evaluation '{name}': {type(metric).__name__}.evaluate returned no number.")
        elif note := nan_warning(metric, result):  # which one batch may explain
            self.notes.append(f"evaluation '{name}': {note}")

    def _train(self, model: Any, streams: Mapping[str, Stream]) -> None:
        for name, stream in streams.items():
            if not self._reads(name, stream.dataset):
                continue
            stream.num_workers = 0
            stream.start(0)
            with seeded(0):
                batch = next(stream)
                losses = model.train()({name: batch}, objectives={name: stream.objectives})[name]
                self._look_at(name, losses)
                self._run_alone(stream, model, batch)
            stream.stop()
            self.done.append(f"losses of stream {name}")
            if total := [value.sum() for key, value in losses.items() if "loss" in key and value.requires_grad]:
                sum(total).backward()
        if not self.problems:
            self._look_at_gradients(model)

    def _reads(self, name: str, dataset: Any) -> bool:
        """Whether records at either end can be used; a plugin's adapter and transforms are also looked at alone."""
        path = f"streams.{name}.dataset"
        if is_foreign(dataset) and hasattr(dataset, "record"):
            title = f"{path}: {type(dataset).__name__}"
            self._try(title, lambda: assert_adapter(dataset))
            self._try(title, lambda: self.notes.extend(f"{title}: {one}" for one in misspelt_keys(dataset.record(0))))
        for step in getattr(dataset, "pipeline", ()):
            if is_foreign(step):
                self._look_at_transform(path, step)
        count, bad = len(dataset), []
        for index in sorted({*range(min(_RECORDS, count)), *range(max(0, count - _RECORDS), count)}):
            try:
                with seeded(0):
                    dataset[index]
                return True
            except RecordError as error:
                bad.append(str(error))
        self.problems.append(
            f"{path}: none of the first and last {len(bad)} records could be used, so no batch was made: {bad[0]}"
        )
        return False

    def _look_at_transform(self, path: str, step: Callable) -> None:
        title = f"{path}.pipeline: {getattr(step, '__name__', None) or type(step).__name__}"
        self._try(title, lambda: assert_transform(step))
        if getattr(step, "moves_pixels", False):
            self._try(title, lambda: assert_boxes_follow(step))

    def _try(self, title: str, check: Callable[[], Any]) -> None:
        """Run a check of one part; beside its verdict it may raise, over a record that such a part does not expect."""
        try:
            check()
        except AssertionError as error:
            place, _, name = title.rpartition(": ")
            problem = f"{place if str(error).startswith(name) else title}: {error}"  # some begin with the name
            self.problems += [problem] * (problem not in self.problems)
        except Exception as error:  # a plugin is foreign code; the record of the check has not every key
            self.notes.append(f"{title} was not tried alone: {type(error).__name__}: {error}")

    def _look_at(self, name: str, losses: Mapping[str, Tensor]) -> None:
        for key, value in losses.items():
            if "loss" not in key:
                continue
            if not bool(value.isfinite().all()):
                self.problems.append(f"stream '{name}': {key} is {value.item()}, in the first step.")
            elif not value.requires_grad:
                self.problems.append(
                    f"stream '{name}': {key} depends on no weight, so that nothing is learned from it. Is it detached, "
                    "or made from numbers?"
                )

    def _run_alone(self, stream: Stream, model: Any, batch: Batch) -> None:
        """Compute a plugin's losses without the other objectives, which may need what its own needs do not name."""
        name, objectives = stream.name, list(model.objectives if stream.objectives is None else stream.objectives)
        for objective in objectives:
            if is_foreign(model.objectives[objective]) and len(objectives) > 1:
                try:
                    model({name: batch}, objectives={name: [objective]})
                except PartError as error:
                    raise PartError(f"{error} (It was computed alone: others need more than it names.)") from (
                        error.__cause__
                    )

    def _look_at_gradients(self, model: nn.Module) -> None:
        """Weights of a plugin's parts that no loss reaches."""
        parts = {f"model.{name}": tower for name, tower in model.towers.items()}
        parts |= {f"model.objectives.{name}": objective for name, objective in model.objectives.items()}
        for path, part in parts.items():
            title = type(part).__name__
            weights = {key: weight for key, weight in part.named_parameters() if weight.requires_grad}
            still = [key for key, weight in weights.items() if weight.grad is None]
            if not still or not is_foreign(part):
                continue
            if len(still) == len(weights):
                self.problems.append(
                    f"{path}: no loss reaches a weight of {title}, so that nothing of it is learned. Does it detach, "
                    "or compute without gradients? model.frozen is for parts that are not to be trained."
                )
            else:
                listed = ", ".join(still[:3]) + (", ..." if len(still) > 3 else "")
                self.notes.append(
                    f"{path}: no loss reaches {len(still)} of {len(weights)} weights of {title}: {listed}."
                )


class _FirstBatch:
    """A loader of one batch; everything else is that of the whole one."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[Batch]:
        yield next(iter(self.loader))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)
