"""Evaluation loop: every evaluation of the config, over its own data loader, with its own metric."""

import json
import time
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.runner import BaseLoop

from x2vlm.building import build
from x2vlm.data.data_root import with_data_root
from x2vlm.data.loader import EvaluationLoader
from x2vlm.distributed import all_gather_objects
from x2vlm.engine.distributed.fsdp import FullySharded, unsharded
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.loader_facade import LoaderFacade
from x2vlm.engine.metric_contract import nan_warning, result_problem, state_of, state_problem
from x2vlm.engine.metrics_log import METRICS_FILE, append_line
from x2vlm.engine.optim.autocast import autocast
from x2vlm.part_errors import ConfigError, PartError, is_foreign, naming_the_part
from x2vlm.registry import LOOPS, METRICS


@LOOPS.register_module()
class EvaluationLoop(BaseLoop):
    """Run every evaluation of the config in turn.

    The results go to the log, to the visualizer, and as one line to ``metrics.jsonl`` in the work folder.

    Args:
        runner: The runner.
        dataloader: The loaders, built, by name of the evaluation.
        evaluator: The metrics, built, by the same names: ``metric.evaluate(model, loader) -> {name: number}``.
        precision: ``fp32``, ``bf16`` or ``fp16`` autocast.
        means: Plain means of numbers of several evaluations: from the name of the mean (``"val/r_mean"``) to the names
            it is of (``["val_en/r_mean", "val_de/r_mean"]``). A mean with a missing number is left out.
        mode: ``val`` during training, ``test`` alone.
    """

    def __init__(
        self,
        runner: Any,
        dataloader: Mapping[str, EvaluationLoader],
        evaluator: Mapping[str, Any],
        precision: str = "fp32",
        means: Mapping[str, Sequence[str]] | None = None,
        mode: str = "val",
    ) -> None:
        autocast(precision, torch.device("cpu"))
        self.loaders, self.evaluator = dict(dataloader), dict(evaluator)
        length = sum(map(len, self.loaders.values()))
        super().__init__(runner, LoaderFacade(length, sum(loader.batch_size for loader in self.loaders.values())))
        self.precision, self.mode = precision, mode
        self.means = {name: list(of) for name, of in (means or {}).items()}
        self.at_end = [name for name, loader in self.loaders.items() if getattr(loader, "at_end", False)]

    def run(self) -> dict[str, float]:
        """Evaluate; ``{"<evaluation>/<metric>": number}``. During training without the test sets (``at_end``)."""
        names = [name for name in self.evaluator if self.mode == "test" or name not in self.at_end]
        if not names:
            return {}
        return self._run(names, self.mode, self.runner.loaded_from)

    def run_at_end(self, checkpoint: str | None, iteration: int) -> dict[str, float]:
        """Evaluate the test sets with the current weights; results as of :meth:`run`.

        Args:
            checkpoint: Where the weights are from; None: the last step.
            iteration: Iterations that they were trained for.
        """
        return self._run(self.at_end, "test", checkpoint, iteration)

    def _run(
        self, names: Sequence[str], mode: str, checkpoint: str | None, iteration: int | None = None
    ) -> dict[str, float]:
        self.runner.call_hook(f"before_{mode}")
        self.runner.call_hook(f"before_{mode}_epoch")
        model = unwrap_model(self.runner.model)
        model.eval()
        device = next(model.parameters()).device
        results: dict[str, float] = {}
        for name in names:
            metric = self.evaluator[name]
            where, modes = f"evaluation '{name}'", (unsharded(self.runner.model), autocast(self.precision, device))
            with torch.no_grad(), modes[0], modes[1], naming_the_part(metric, where):
                sharded = isinstance(self.runner.model, FullySharded)  # which writes into its parameters itself
                before = state_of(model) if is_foreign(metric) and not sharded else {}
                metrics = metric.evaluate(model, self.loaders[name])
                problem = state_problem(metric, model, before)
            if problem:
                raise PartError(f"{where}: {problem}")
            if problem := result_problem(metrics):
                raise PartError(f"{where}: {type(metric).__name__}.evaluate returned {problem}")
            if warning := nan_warning(metric, metrics):
                print_log(f"{where}: {warning}", logger="current", level=30)
            results |= {f"{name}/{key}": float(value) for key, value in metrics.items()}
        for name, of in self.means.items():
            if all(one in results for one in of):
                results[name] = sum(results[one] for one in of) / len(of)
        results = all_gather_objects(results)[0]  # the same in all processes, which save a best checkpoint together
        self._write(results, mode, checkpoint, self.runner.trained_iters if iteration is None else iteration)
        self.runner.call_hook(f"after_{mode}_epoch", metrics=results)
        self.runner.call_hook(f"after_{mode}")
        return results

    def _write(self, results: dict[str, float], mode: str, checkpoint: str | None, iteration: int) -> None:
        if not is_main_process():
            return
        line = {"mode": mode, "iter": iteration, "run": self.runner.timestamp}
        line |= {"checkpoint": checkpoint} if mode == "test" else {}
        line |= {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "metrics": results}
        append_line(Path(self.runner.work_dir) / METRICS_FILE, json.dumps(line))


def build_metric(
    name: str, cfg: Any, tokenizer: Any = None, work_dir: str | None = None, data_root: str | None = None
) -> Any:
    """The metric of an evaluation.

    Args:
        name: Name of the evaluation.
        cfg: Its ``metric``.
        tokenizer: Passed on to metrics that take one.
        work_dir: Passed on likewise.
        data_root: Relative paths of annotation files start from here.

    Raises:
        ConfigError: If it is missing, cannot be built, or is no metric.
    """
    path = f"evaluations.{name}.metric"
    if cfg is None:
        raise ConfigError("no metric says what to measure: metric=dict(type=...).", path)
    cfg = with_data_root(cfg, data_root, METRICS)
    metric = build(METRICS, cfg, path, tokenizer=tokenizer, work_dir=work_dir)
    if not hasattr(metric, "evaluate"):
        raise ConfigError(f"{type(metric).__name__} has no evaluate(model, loader).", path)
    if is_foreign(metric):
        try:
            signature(metric.evaluate).bind(None, None)
        except TypeError as error:
            message = f"{type(metric).__name__}.evaluate is called as evaluate(model, loader): {error}."
            raise ConfigError(message, path) from error
    return metric
