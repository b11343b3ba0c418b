"""The report page of a run: results, curves, example images and config in one self-contained HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from x2vlm.inference.report.charts import Chart, Curve, smooth, subsample
from x2vlm.inference.report.example_cards import ExampleCard
from x2vlm.inference.report.history import Series, evaluation_series, read_evaluations, read_scalars
from x2vlm.inference.report.mistakes import ConfusionTable, Mistake
from x2vlm.inference.report.result_tables import (
    by_evaluation,
    headlines,
    is_grounding_accuracy,
    readable,
    result_tables,
)

OBJECTIVES = {
    "loss_itc": "ITC: contrastive",
    "loss_itm": "ITM: matching",
    "loss_mlm": "MLM: masked language modelling",
    "loss_bbox": "Box: L1",
    "loss_giou": "Box: 1 - GIoU",
}
MAX_POINTS = 300  # of a curve on the page


@dataclass
class Report:
    """The contents of the page.

    Attributes:
        title: Title.
        results: Metrics of the last evaluation, ``{"<evaluation>/<metric>": percent}``.
        subtitle: Text below the title.
        scalars: The training log by iteration.
        evaluations: The metrics by iteration.
        gallery: Example cards by evaluation.
        confusions: Confusion tables of classification.
        mistakes: The worst mistakes by evaluation.
        facts: Time, memory, sizes, versions: name and value.
        config: The full config as text.
        command: The command that makes this page again.
    """

    title: str
    results: Mapping[str, float]
    subtitle: str = "All results are in percent."
    scalars: Series = field(default_factory=dict)
    evaluations: Series = field(default_factory=dict)
    gallery: Mapping[str, Sequence[ExampleCard]] = field(default_factory=dict)
    confusions: Sequence[ConfusionTable] = ()
    mistakes: Mapping[str, Sequence[Mistake]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    config: str = ""
    command: str = ""

    def html(self) -> str:
        """Render the page."""
        source = resources.files("x2vlm.inference.report").joinpath("report.html.j2").read_text(encoding="utf-8")
        page = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        page.filters["readable"] = readable
        return page.from_string(source).render(
            report=self,
            headlines=headlines(self.results),
            tables=result_tables(self.results),
            losses=loss_charts(self.scalars),
            progress=progress_charts(self.evaluations),
        )


def write_report(
    work_dir: str | PathLike,
    title: str,
    results: Mapping[str, float] | None = None,
    gallery: Mapping[str, Sequence[ExampleCard]] | None = None,
    facts: Sequence[tuple[str, str]] = (),
    config: str = "",
    command: str = "",
    subtitle: str = Report.subtitle,
    confusions: Sequence[ConfusionTable] = (),
    mistakes: Mapping[str, Sequence[Mistake]] | None = None,
) -> Path:
    """Write ``report.html`` into the folder of a run, from its log files and the arguments.

    Args:
        work_dir: The folder.
        title: Title.
        results: Metrics; None takes those of the last evaluation in the folder.
        gallery: Example cards by evaluation.
        facts: Time, memory, sizes, versions.
        config: The config as text.
        command: The command that makes this page again.
        subtitle: Text below the title.
        confusions: Confusion tables of classification.
        mistakes: The worst mistakes by evaluation.

    Returns:
        The file.

    Raises:
        FileExistsError: If ``report.html`` exists.
        ValueError: If there is nothing to report.
    """
    evaluations = read_evaluations(work_dir)
    if results is None:
        if not evaluations:
            raise ValueError(f"{work_dir} has no evaluation in metrics.jsonl, and no results were given.")
        results = evaluations[-1]["metrics"]
    report = Report(
        title=title,
        subtitle=subtitle,
        results=results,
        scalars=read_scalars(work_dir),
        evaluations=evaluation_series(evaluations),
        gallery=gallery or {},
        confusions=confusions,
        mistakes=mistakes or {},
        facts=facts,
        config=config,
        command=command,
    )
    path = Path(work_dir) / "report.html"
    text = report.html()
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def loss_charts(scalars: Series) -> list[Chart]:
    """A chart for every objective, with a curve for every stream; then the learning rate."""
    keys = [key.rpartition(".") for key in scalars if "." in key and "loss" in key]
    streams = list(dict.fromkeys(stream for stream, _, _ in keys))
    charts = []
    for objective in dict.fromkeys(objective for _, _, objective in keys):
        lines = [
            _curve(stream, scalars[f"{stream}.{objective}"], streams.index(stream))
            for stream in streams
            if f"{stream}.{objective}" in scalars
        ]
        charts.append(Chart(OBJECTIVES.get(objective, readable(objective)), lines, y_label="loss"))
    if "lr" in scalars:
        charts.append(Chart("Learning rate", [Curve("", subsample(scalars["lr"], MAX_POINTS))], y_label="lr"))
    return charts


def progress_charts(evaluations: Series) -> list[Chart]:
    """The main metrics of each evaluation by iteration, with the baselines dashed."""
    charts = []
    for name, metrics in by_evaluation(evaluations).items():
        wanted = {
            "i2t_r1": ("i2t R@1", 0, False),
            "t2i_r1": ("t2i R@1", 1, False),
            "chance_t2i_r1": ("chance", 5, True),
            **{metric: (readable(metric), 0, False) for metric in metrics if is_grounding_accuracy(metric)},
            "average_box_accuracy": ("average box", 5, True),
            "accuracy": ("accuracy", 0, False),
            "vqa_accuracy": ("VQA accuracy", 0, False),
            "exact_match": ("exact match", 1, False),
            "majority_accuracy": ("most frequent class", 5, True),
            "majority_exact_match": ("most frequent answer", 5, True),
        }
        lines = [
            Curve(label, metrics[m], color, dashed=dash) for m, (label, color, dash) in wanted.items() if m in metrics
        ]
        if lines:
            charts.append(Chart(readable(name), lines, y_label="%", y_range=(0, 100)))
    return charts


def _curve(stream: str, points: Sequence[tuple[float, float]], color: int) -> Curve:
    smoothed = smooth(points, max(1, len(points) // 25))
    return Curve(stream, subsample(smoothed, MAX_POINTS), color, raw=subsample(points, MAX_POINTS))
