"""Tables and headlines of metrics for the report page, beside the baselines of each evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class ResultTable:
    """A table of metrics: ``rows`` are ``(name, whether it is the model and not a baseline, cells)``."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, bool, Sequence[str]]]


def readable(name: str) -> str:
    """A name with spaces: ``image_retrieval`` -> ``image retrieval``."""
    return name.replace("_", " ")


def by_evaluation(results: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """Metrics (or their curves) by evaluation: ``{"image/r1": 3.0}`` -> ``{"image": {"r1": 3.0}}``."""
    grouped: dict[str, dict[str, Value]] = {}
    for key, value in results.items():
        name, _, metric = key.rpartition("/")
        grouped.setdefault(name, {})[metric] = value
    return grouped


def headlines(results: Mapping[str, float]) -> list[dict[str, str]]:
    """The main metrics: ``what``, ``value``, and ``beside``, the baseline to compare with."""
    lines = []
    for name, metrics in by_evaluation(results).items():
        pairs = [(f"{way}_r1", f"chance_{way}_r1", f"{way} R@1", "chance") for way in ("i2t", "t2i")]
        pairs += [(m, "average_box_accuracy", "accuracy", "average box") for m in metrics if is_grounding_accuracy(m)]
        for metric, other, label, baseline in pairs:
            if metric in metrics and other in metrics:
                beside = f"{baseline} {metrics[other]:.1f} %"
                lines.append(
                    {"what": f"{readable(name)}: {label}", "value": f"{metrics[metric]:.1f} %", "beside": beside}
                )
    return lines


def result_tables(results: Mapping[str, float]) -> list[ResultTable]:
    """A table for every evaluation: the model's metrics, and those of the baselines."""
    return [_table(readable(name), metrics) for name, metrics in by_evaluation(results).items()]


def is_grounding_accuracy(metric: str) -> bool:
    """Whether it is ``accuracy_at_0.5``, and not that of one kind of phrases."""
    return metric.startswith("accuracy_at_") and metric.removeprefix("accuracy_at_").replace(".", "").isdigit()


def _table(title: str, metrics: Mapping[str, float]) -> ResultTable:
    if "i2t_r1" in metrics:
        return _retrieval_table(title, metrics)
    if any(map(is_grounding_accuracy, metrics)):
        return _grounding_table(title, metrics)
    return ResultTable(
        title, list(map(readable, metrics)), [("model", True, [f"{value:.2f}" for value in metrics.values()])]
    )


def _retrieval_table(title: str, metrics: Mapping[str, float]) -> ResultTable:
    recalls = [m for m in metrics if m.startswith(("i2t_r", "t2i_r")) or m == "r_mean"]
    names = [m.replace("_r", " R@") if m != "r_mean" else "mean" for m in recalls]
    reranked = any(m.startswith("itc_") for m in metrics)
    rows = [("cosine, re-ranked by matching" if reranked else "cosine", True, "")]
    rows += [("cosine only", False, "itc_")] if reranked else []
    rows += [("random order", False, "chance_")]
    return ResultTable(
        title, names, [(name, is_model, _cells(metrics, recalls, prefix)) for name, is_model, prefix in rows]
    )


def _grounding_table(title: str, metrics: Mapping[str, float]) -> ResultTable:
    accuracies = [m for m in metrics if m.startswith("accuracy_at_")]
    columns = [*accuracies, "mean_iou"]
    names = [readable(m.replace("accuracy_at_", "IoU at least ")) for m in accuracies] + ["mean IoU"]
    baseline = ["average_box_accuracy" + _kind(m) for m in accuracies] + ["average_box_mean_iou"]
    rows = [("model", True, columns), ("always the average box", False, baseline)]
    return ResultTable(title, names, [(name, is_model, _cells(metrics, keys)) for name, is_model, keys in rows])


def _kind(metric: str) -> str:
    """The suffix of a metric of one kind: ``_object`` of ``accuracy_at_0.5_object``; empty for all kinds."""
    _, _, kind = metric.removeprefix("accuracy_at_").partition("_")
    return f"_{kind}" if kind else ""


def _cells(metrics: Mapping[str, float], keys: Sequence[str], prefix: str = "") -> list[str]:
    return [f"{metrics[prefix + key]:.1f}" if prefix + key in metrics else "" for key in keys]
