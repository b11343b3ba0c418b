"""Losses and evaluation metrics of a run, read from its log files."""

import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.engine.metrics_log import METRICS_FILE
from x2vlm.inference.report.charts import Point

Series = dict[str, list[Point]]


def read_scalars(work_dir: str | PathLike) -> Series:
    """Every scalar of the training log by iteration, e.g. ``{"image.loss_itc": [(10, 4.1), ...], "lr": ...}``.

    A resumed run has several files; where they overlap, the later one is used.

    Returns:
        Series by name; empty if nothing was logged.
    """
    values: dict[str, dict[float, float]] = {}
    for file in sorted(Path(work_dir).glob("*/vis_data/scalars.json")):
        for line in _json_lines(file):
            if "iter" not in line:
                continue  # an evaluation, which metrics.jsonl holds in full
            for name, value in line.items():
                if isinstance(value, int | float) and name not in ("iter", "step"):
                    values.setdefault(name, {})[float(line["iter"])] = float(value)
    return {name: sorted(points.items()) for name, points in values.items()}


def read_evaluations(work_dir: str | PathLike) -> list[dict[str, Any]]:
    """The evaluations of a work folder in their order: ``dict(mode, iter, metrics, ...)`` each."""
    file = Path(work_dir) / METRICS_FILE
    return list(_json_lines(file)) if file.is_file() else []


def evaluation_series(evaluations: list[dict[str, Any]]) -> Series:
    """Every metric by iteration, from the evaluations during training."""
    values: dict[str, dict[float, float]] = {}
    for evaluation in evaluations:
        if evaluation["mode"] == "val":
            for name, value in evaluation["metrics"].items():
                values.setdefault(name, {})[float(evaluation["iter"])] = float(value)
    return {name: sorted(points.items()) for name, points in values.items()}


def _json_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The complete lines of a file; an incomplete last line, left by a killed run, is skipped."""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(keepends=True), start=1):
        if not line.endswith("\n"):
            return
        try:
            yield json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{file}:{number} is not JSON: {error}.") from error
