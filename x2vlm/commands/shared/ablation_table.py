"""Metrics of an ablation: mean, deviation and difference to the base config, as Markdown, CSV and a plot.

A *result* is ``{config: {seed: {metric: value}}}`` of the finished runs.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, stdev

Result = dict[str, dict[int, dict[str, float]]]


@dataclass(frozen=True)
class MetricSummary:
    """One metric of one config over its seeds.

    Attributes:
        config: Name of the config.
        metric: Name of the metric.
        seeds: How many finished runs have it.
        mean: Mean over these; NaN if there are none.
        deviation: Sample standard deviation; NaN below two runs.
        difference: Mean over the seeds that config and base share of (config - base); NaN if they share none.
        difference_deviation: Sample standard deviation of these differences; NaN below two.
    """

    config: str
    metric: str
    seeds: int
    mean: float
    deviation: float
    difference: float
    difference_deviation: float


def summarise(result: Result, base: str) -> list[MetricSummary]:
    """One summary per config and metric, in the order of ``result``; the differences of the base are 0.

    Seeds are paired: a difference is taken between two runs of the same seed.

    Raises:
        ValueError: If ``base`` is not in ``result``.
    """
    if base not in result:
        raise ValueError(f"the base '{base}' is not among the configs: {', '.join(result) or 'there are none'}.")
    return [_cell(result, base, config, metric) for config in result for metric in metric_names(result)]


def _cell(result: Result, base: str, config: str, metric: str) -> MetricSummary:
    ours, theirs = (
        {seed: metrics[metric] for seed, metrics in result[name].items() if metric in metrics}
        for name in (config, base)
    )
    differences = [ours[seed] - theirs[seed] for seed in ours if seed in theirs]
    values = list(ours.values())
    return MetricSummary(
        config, metric, len(values), _mean(values), _deviation(values), _mean(differences), _deviation(differences)
    )


def metric_names(result: Result) -> list[str]:
    """Every metric of any run, in the order in which they first appear."""
    return list(dict.fromkeys(name for runs in result.values() for metrics in runs.values() for name in metrics))


def to_csv(cells: Sequence[MetricSummary]) -> str:
    """One line per config and metric; a NaN is left empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(MetricSummary)], lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        writer.writerow({key: "" if value != value else value for key, value in asdict(cell).items()})
    return text.getvalue()


def varying(result: Result) -> list[str]:
    """The metrics that differ between runs; not those that are equal in all of several runs, such as chance levels."""
    runs = [metrics for by_seed in result.values() for metrics in by_seed.values()]
    return [name for name in metric_names(result) if len(runs) < 2 or len({run.get(name) for run in runs}) > 1]


def to_markdown(cells: Sequence[MetricSummary], base: str, failures: dict[str, dict[int, str]] | None = None) -> str:
    """One row per metric, one column per config: ``mean ± deviation (difference to the base)``.

    Args:
        cells: The summaries of the metrics to show.
        base: Name of the base.
        failures: ``{config: {seed: reason}}``; failed runs are listed below the table.
    """
    configs = list(dict.fromkeys(cell.config for cell in cells))
    table = {(cell.config, cell.metric): cell for cell in cells}
    lines = [f"| metric | {' | '.join(configs)} |", "|---|" + "---:|" * len(configs)]
    for metric in dict.fromkeys(cell.metric for cell in cells):
        row = (_format(table[config, metric], config == base) for config in configs)
        lines.append(f"| {metric} | {' | '.join(row)} |")
    runs = (f"{config} {max(c.seeds for c in cells if c.config == config)}" for config in configs)
    lines += ["", f"Mean ± deviation (sample) over seeds; in brackets the mean difference to {base}, paired by seed."]
    lines += [f"Finished runs: {', '.join(runs)}."] if cells else []
    for config, reasons in (failures or {}).items():
        lines += [f"- **failed**: {config}, seed {seed}: {reason}" for seed, reason in reasons.items()]
    return "\n".join(lines) + "\n"


def _format(cell: MetricSummary, is_base: bool) -> str:
    if not cell.seeds:
        return "-"
    mean = f"{cell.mean:.4g}" + ("" if math.isnan(cell.deviation) else f" ± {cell.deviation:.2g}")
    return mean if is_base or math.isnan(cell.difference) else f"{mean} ({cell.difference:+.3g})"


def plot(cells: Sequence[MetricSummary], result: Result, base: str, path: Path) -> None:
    """Plot one panel per metric: a dot per run, a bar for mean ± deviation, a dashed line at the mean of the base.

    Args:
        cells: The summaries of the metrics to plot.
        result: The runs.
        base: Name of the base.
        path: Where to write; the suffix (``.png``, ``.svg``) decides the format.

    Raises:
        ImportError: If matplotlib is not installed (``pip install 'x2vlm[demo]'``).
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    metrics = list(dict.fromkeys(cell.metric for cell in cells))
    configs = list(dict.fromkeys(cell.config for cell in cells))
    columns = min(3, max(1, len(metrics)))
    rows = max(1, math.ceil(len(metrics) / columns))
    size = (1.5 + 3.2 * columns, 0.8 + rows * (0.6 + 0.32 * len(configs)))
    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).flatten()
    for panel, metric in zip(panels, metrics, strict=False):
        _draw(panel, {cell.config: cell for cell in cells if cell.metric == metric}, result, base, configs)
    for panel in panels[len(metrics) :]:
        panel.set_visible(False)
    figure.savefig(path, dpi=150)


def _draw(panel, cells: dict[str, MetricSummary], result: Result, base: str, configs: list[str]) -> None:
    metric = next(iter(cells.values())).metric
    for position, config in enumerate(configs):
        values = [metrics[metric] for metrics in result[config].values() if metric in metrics]
        color = "tab:gray" if config == base else "tab:blue"
        panel.plot(values, [position] * len(values), "o", color=color, alpha=0.5, markersize=4)
        if values:
            spread = 0 if math.isnan(cells[config].deviation) else cells[config].deviation
            panel.errorbar(cells[config].mean, position, xerr=spread, fmt="|", color=color, markersize=14, capsize=3)
    if cells[base].seeds:
        panel.axvline(cells[base].mean, color="tab:gray", linestyle="--", linewidth=1)
    panel.set_yticks(range(len(configs)), configs)
    panel.set_ylim(len(configs) - 0.5, -0.5)
    panel.set_title(metric, fontsize=9)


def _mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else math.nan
