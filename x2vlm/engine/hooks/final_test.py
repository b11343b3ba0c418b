"""The test sets of a training run: read once, at its end, with the checkpoint that validation chose."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from x2vlm.distributed import all_gather_objects
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.checkpoint.restore import read_run
from x2vlm.engine.distributed.model_wrapper import unwrap_model
from x2vlm.engine.hooks.hook_lookup import find_hook
from x2vlm.engine.metrics_log import METRICS_FILE
from x2vlm.weights.load_weights import put


def test_best(runner: Any) -> dict[str, float]:
    """Evaluate the test sets (``at_end``) with the best checkpoint, or with the last weights where none was chosen.

    The weights of the last step are back in the model afterwards. A run that is resumed after its test does not repeat
    it.

    Args:
        runner: The runner, at the end of its training.

    Returns:
        The numbers, as :meth:`x2vlm.engine.eval_loop.EvaluationLoop.run` gives them; empty where there is no test set.
    """
    loop = runner.val_loop
    if not getattr(loop, "at_end", None) or _is_tested(runner):
        return {}
    best = best_checkpoint(runner)
    if best is None:
        runner.logger.info(f"test of {', '.join(loop.at_end)} with the weights of the last step: none was chosen.")
        with _as_test_loop(runner):
            return loop.run_at_end(None, runner.iter)
    runner.logger.info(f"test of {', '.join(loop.at_end)} with {best}, the best by validation.")
    with _as_test_loop(runner), _weights_of(runner, best) as iteration:
        return loop.run_at_end(best, iteration)


def best_checkpoint(runner: Any) -> str | None:
    """The best checkpoint by validation that a run has kept (the first of several indicators); None if none."""
    keeper = find_hook(runner, CheckpointHook)
    several = list(getattr(keeper, "best_ckpt_path_dict", {}).values())
    best = getattr(keeper, "best_ckpt_path", None) or (several[0] if several else None)
    return best if best and Path(best).exists() else None


@contextmanager
def _as_test_loop(runner: Any) -> Iterator[None]:
    """Inside, MMEngine's hooks find a test loop: they log its numbers as those of a test."""
    before, runner._test_loop = runner._test_loop, runner.val_loop
    try:
        yield
    finally:
        runner._test_loop = before


@contextmanager
def _weights_of(runner: Any, checkpoint: str) -> Iterator[int]:
    """Inside, the model has the weights of a checkpoint of its own run; gives the iterations behind them."""
    model, content = unwrap_model(runner.model), read_run(checkpoint, runner.model)
    before = {name: _aside(value) for name, value in model.state_dict().items()}
    put(model, content["state_dict"])
    try:
        yield content["meta"]["iter"]
    finally:
        put(model, before)


def _aside(value: Tensor) -> Tensor:
    """A copy, in main memory where it is no part of a sharded one."""
    return value.detach().clone() if hasattr(value, "to_local") else value.detach().clone().cpu()


def _is_tested(runner: Any) -> bool:
    """Whether this run's work folder holds a test of the end already, by the lines of ``metrics.jsonl``."""
    path = Path(runner.work_dir) / METRICS_FILE
    whole = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
    lines = [line for line in map(json.loads, whole) if line["mode"] == "test"]
    names = set(runner.val_loop.at_end)
    done = any(names <= {key.partition("/")[0] for key in line["metrics"]} for line in lines)
    return all_gather_objects(done)[0]
