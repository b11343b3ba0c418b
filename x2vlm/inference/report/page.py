"""One page about one run: what was learned, how, and pictures to judge by. It needs nothing but a browser."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from os import PathLike
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from x2vlm.inference.report.charts import Chart, Line, smooth, thin
from x2vlm.inference.report.example_cards import Card
from x2vlm.inference.report.history import Series, evaluation_series, read_evaluations, read_scalars

OBJECTIVES = {
    "loss_itc": "ITC: contrast",
    "loss_itm": "ITM: do they match?",
    "loss_mlm": "MLM: the hidden words",
    "loss_bbox": "Box: L1 distance",
    "loss_giou": "Box: 1 - GIoU",
}
MOST_POINTS = 300  # of a curve on the page


@dataclass(frozen=True)
class Table:
    """Numbers with names: ``rows`` are ``(name, is the model itself, cells)``; cells are text."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, bool, Sequence[str]]]


@dataclass
class Report:
    """Everything that is on the page.

    Attributes:
        title: Above it all.
        results: What the last evaluation found, ``{"<evaluation>/<metric>": percent}``.
        subtitle: Below the title.
        scalars: The training log over iterations.
        evaluations: The metrics over iterations.
        gallery: Cards by evaluation.
        facts: Time, memory, sizes, versions: name and value.
        config: The whole config as text.
        command: What makes this page again.
    """

    title: str
    results: Mapping[str, float]
    subtitle: str = "All results are in percent."
    scalars: Series = field(default_factory=dict)
    evaluations: Series = field(default_factory=dict)
    gallery: Mapping[str, Sequence[Card]] = field(default_factory=dict)
    facts: Sequence[tuple[str, str]] = ()
    config: str = ""
    command: str = ""

    def html(self) -> str:
        """The page."""
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
    gallery: Mapping[str, Sequence[Card]] | None = None,
    facts: Sequence[tuple[str, str]] = (),
    config: str = "",
    command: str = "",
    subtitle: str = Report.subtitle,
) -> Path:
    """Write ``report.html`` into the folder of a run, from what the run wrote there and what is given.

    Args:
        work_dir: The folder.
        title: Above it all.
        results: What was found; None takes the last evaluation of the folder.
        gallery: Cards by evaluation.
        facts: Time, memory, sizes, versions.
        config: The config as text.
        command: What makes this page again.
        subtitle: Below the title.

    Returns:
        The file.

    Raises:
        FileExistsError: If there is a ``report.html`` already.
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
        facts=facts,
        config=config,
        command=command,
    )
    path = Path(work_dir) / "report.html"
    text = report.html()
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    return path


def readable(name: str) -> str:
    """``image_retrieval`` as one would say it."""
    return name.replace("_", " ")


def by_evaluation(results: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """``{"image/r1": 3.0}`` as ``{"image": {"r1": 3.0}}``."""
    grouped: dict[str, dict[str, float]] = {}
    for key, value in results.items():
        name, _, metric = key.rpartition("/")
        grouped.setdefault(name, {})[metric] = value
    return grouped


def headlines(results: Mapping[str, float]) -> list[dict[str, str]]:
    """The few numbers to read first: ``what``, ``value``, and ``beside``, what it is to be compared with."""
    found = []
    for name, metrics in by_evaluation(results).items():
        pairs = [(f"{way}_r1", f"chance_{way}_r1", f"{way} R@1", "chance") for way in ("i2t", "t2i")]
        pairs += [(m, "average_box_accuracy", "accuracy", "average box") for m in metrics if _is_accuracy(m)]
        for metric, other, what, rival in pairs:
            if metric in metrics and other in metrics:
                beside = f"{rival} {metrics[other]:.1f} %"
                found.append(
                    {"what": f"{readable(name)}: {what}", "value": f"{metrics[metric]:.1f} %", "beside": beside}
                )
    return found


def result_tables(results: Mapping[str, float]) -> list[Table]:
    """A table for every evaluation: the model's rows, and what guessing gives."""
    return [_table(readable(name), metrics) for name, metrics in by_evaluation(results).items()]


def loss_charts(scalars: Series) -> list[Chart]:
    """A chart for every objective, with a line for every stream; then the learning rate."""
    keys = [key.rpartition(".") for key in scalars if "." in key and "loss" in key]
    streams = list(dict.fromkeys(stream for stream, _, _ in keys))
    charts = []
    for objective in dict.fromkeys(objective for _, _, objective in keys):
        lines = [
            _line(stream, scalars[f"{stream}.{objective}"], streams.index(stream))
            for stream in streams
            if f"{stream}.{objective}" in scalars
        ]
        charts.append(Chart(OBJECTIVES.get(objective, readable(objective)), lines, y_label="loss"))
    if "lr" in scalars:
        charts.append(Chart("Learning rate", [Line("", thin(scalars["lr"], MOST_POINTS))], y_label="lr"))
    return charts


def progress_charts(evaluations: Series) -> list[Chart]:
    """R@1 and grounding accuracy over the run, guessing beside them in broken lines."""
    charts = []
    for name, metrics in _grouped_series(evaluations).items():
        wanted = {
            "i2t_r1": ("i2t R@1", 0, False),
            "t2i_r1": ("t2i R@1", 1, False),
            "chance_t2i_r1": ("chance", 5, True),
            **{metric: (readable(metric), 0, False) for metric in metrics if _is_accuracy(metric)},
            "average_box_accuracy": ("average box", 5, True),
        }
        lines = [
            Line(label, metrics[m], color, dashed=dash) for m, (label, color, dash) in wanted.items() if m in metrics
        ]
        if lines:
            charts.append(Chart(readable(name), lines, y_label="%", y_range=(0, 100)))
    return charts


def _line(stream: str, points: Sequence[tuple[float, float]], color: int) -> Line:
    calm = smooth(points, max(1, len(points) // 25))
    return Line(stream, thin(calm, MOST_POINTS), color, raw=thin(points, MOST_POINTS))


def _is_accuracy(metric: str) -> bool:
    """``accuracy_at_0.5``, but not that of one kind of phrases."""
    return metric.startswith("accuracy_at_") and metric.removeprefix("accuracy_at_").replace(".", "").isdigit()


def _grouped_series(evaluations: Series) -> dict[str, Series]:
    grouped: dict[str, Series] = {}
    for key, points in evaluations.items():
        name, _, metric = key.rpartition("/")
        grouped.setdefault(name, {})[metric] = points
    return grouped


def _table(title: str, metrics: Mapping[str, float]) -> Table:
    if "i2t_r1" in metrics:
        return _retrieval_table(title, metrics)
    if any(map(_is_accuracy, metrics)):
        return _grounding_table(title, metrics)
    return Table(title, list(map(readable, metrics)), [("model", True, [f"{value:.2f}" for value in metrics.values()])])


def _retrieval_table(title: str, metrics: Mapping[str, float]) -> Table:
    recalls = [m for m in metrics if m.startswith(("i2t_r", "t2i_r")) or m == "r_mean"]
    names = [m.replace("_r", " R@") if m != "r_mean" else "mean" for m in recalls]
    second = any(m.startswith("itc_") for m in metrics)
    rows = [("cosine, then matching" if second else "cosine", True, "")]
    rows += [("cosine alone", False, "itc_")] if second else []
    rows += [("a random order", False, "chance_")]
    return Table(title, names, [(name, own, _cells(metrics, recalls, prefix)) for name, own, prefix in rows])


def _grounding_table(title: str, metrics: Mapping[str, float]) -> Table:
    accuracies = [m for m in metrics if m.startswith("accuracy_at_")]
    columns = [*accuracies, "mean_iou"]
    names = [readable(m.replace("accuracy_at_", "IoU at least ")) for m in accuracies] + ["mean IoU"]
    rivals = ["average_box_accuracy" + _kind(m) for m in accuracies] + ["average_box_mean_iou"]
    rows = [("the model", True, columns), ("always the average box", False, rivals)]
    return Table(title, names, [(name, own, _cells(metrics, keys)) for name, own, keys in rows])


def _kind(metric: str) -> str:
    """``_object`` of ``accuracy_at_0.5_object``; empty for all kinds together."""
    _, _, kind = metric.removeprefix("accuracy_at_").partition("_")
    return f"_{kind}" if kind else ""


def _cells(metrics: Mapping[str, float], keys: Sequence[str], prefix: str = "") -> list[str]:
    return [f"{metrics[prefix + key]:.1f}" if prefix + key in metrics else "" for key in keys]
