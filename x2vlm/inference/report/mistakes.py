"""What an evaluation got wrong, for the report page: from the predictions that its metric saved.

Predictions are JSON lines as ``ClassificationMetric`` and ``GroundingMetric`` write them (``save_to``).
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.building import build
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError
from x2vlm.inference.draw_boxes import COLORS, BoxAnnotation, draw_boxes, to_rgb_array
from x2vlm.inference.report.example_cards import data_url
from x2vlm.registry import DATASETS

RIGHT_IOU = 0.5  # from which a predicted box counts as right
MAX_CLASSES = 12  # of a table; with more, the classes that are confused most
MAX_SCANNED = 1000  # records in which the images of mistakes are looked for


@dataclass(frozen=True)
class ConfusionTable:
    """How often records of each class (a row) are taken for each class (a column).

    Attributes:
        title: Name of the evaluation.
        classes: Names.
        counts: ``counts[true][predicted]``.
        left_out: Classes that are not shown.
    """

    title: str
    classes: Sequence[str]
    counts: Sequence[Sequence[int]]
    left_out: int = 0


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction.

    Attributes:
        where: The record.
        text: The text that was classified or looked for.
        predicted: What the model said.
        expected: What is right.
        confidence: The model's, 0..1; None where it has none.
        image: The drawn image as a ``data:`` URL; empty where it is not shown.
    """

    where: str
    text: str
    predicted: str
    expected: str
    confidence: float | None = None
    image: str = ""


def read_predictions(path: str | PathLike) -> list[dict[str, Any]]:
    """The lines of a file of predictions.

    Raises:
        ValueError: If a line is not JSON.
    """
    lines = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number} is not JSON: {error}.") from error
    return lines


def confusion_table(title: str, lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> ConfusionTable | None:
    """The confusion table of classification; None where no line has a class and a label.

    Args:
        title: Name of the evaluation.
        lines: Predictions.
        names: Names of the classes, in order; their numbers are shown where these are not known.
    """
    pairs = Counter((line["label"], line["predicted"]) for line in lines if _is_class(line))
    if not pairs:
        return None
    wrong: Counter[int] = Counter()
    for (true, predicted), count in pairs.items():
        wrong.update({true: 0, predicted: 0} if true == predicted else {true: count, predicted: count})
    shown = sorted(number for number, _ in wrong.most_common(MAX_CLASSES))
    counts = [[pairs[true, predicted] for predicted in shown] for true in shown]
    return ConfusionTable(title, [_name(number, names) for number in shown], counts, len(wrong) - len(shown))


def worst_mistakes(lines: Sequence[Mapping[str, Any]], count: int) -> list[Mapping[str, Any]]:
    """The lines of the wrong predictions of highest confidence; without confidences those of the smallest overlap."""
    wrong = [line for line in lines if _is_wrong(line)]
    return sorted(wrong, key=lambda line: (-(_confidence(line) or 0.0), line.get("iou", 0.0)))[:count]


def mistakes_of(
    lines: Sequence[Mapping[str, Any]], names: Sequence[str], dataset: Adapter | None = None, count: int = 6
) -> list[Mistake]:
    """The worst mistakes, with their images where they are among the first ``MAX_SCANNED`` records of the data set."""
    worst = worst_mistakes(lines, count)
    images = {} if dataset is None else images_at(dataset, {line["where"] for line in worst})
    mistakes = []
    for line in worst:
        said, right = _described(line, names)
        image = images.get(line["where"])
        drawn = "" if image is None else data_url(draw_boxes(image, _boxes(line, image)))
        mistakes.append(Mistake(line["where"], _text(line), said, right, _confidence(line), drawn))
    return mistakes


def images_at(dataset: Adapter, wanted: set[str]) -> dict[str, Any]:
    """The images of records by their place (``where``), as far as they are among the first ``MAX_SCANNED``."""
    found: dict[str, Any] = {}
    for index in range(min(len(dataset), MAX_SCANNED)):
        if found.keys() == wanted:
            break
        try:
            record = dataset.record(index)
        except RecordError:
            continue  # the evaluation has counted it
        if record["where"] in wanted and "image" in record:
            found[record["where"]] = to_rgb_array(record["image"])
    return found


def evaluation_mistakes(
    evaluations: Mapping[str, Mapping], files: Mapping[str, Path], classes: Mapping[str, Sequence[str]], count: int = 6
) -> tuple[list[ConfusionTable], dict[str, list[Mistake]]]:
    """Confusion tables and worst mistakes of all evaluations whose predictions were saved.

    Args:
        evaluations: Their configs by name.
        files: Their predictions by name; files that are not there are passed over.
        classes: Names of their classes by name, where they are known.
        count: Mistakes of each.
    """
    tables, mistakes = [], {}
    for name, file in files.items():
        if not file.is_file():
            continue
        lines, names = read_predictions(file), classes.get(name, ())
        table = confusion_table(name, lines, names)
        tables += [] if table is None else [table]
        dataset = build(DATASETS, evaluations[name]["dataset"], f"evaluations.{name}.dataset")
        if found := mistakes_of(lines, names, dataset, count):
            mistakes[name] = found
    return tables, mistakes


def _is_class(line: Mapping[str, Any]) -> bool:
    return isinstance(line.get("label"), int) and "correct" in line


def _is_wrong(line: Mapping[str, Any]) -> bool:
    return line["iou"] < RIGHT_IOU if "iou" in line else line.get("correct") is False


def _confidence(line: Mapping[str, Any]) -> float | None:
    return line.get("confidence", line.get("probability"))


def _described(line: Mapping[str, Any], names: Sequence[str]) -> tuple[str, str]:
    """What the model said, and what is right."""
    if "iou" in line:
        return f"IoU {100 * line['iou']:.0f} %", ""
    label = line.get("label")
    return _name(line["predicted"], names), "" if label is None else _name(label, names)


def _name(number: int, names: Sequence[str]) -> str:
    return str(names[number]) if number < len(names) else str(number)


def _text(line: Mapping[str, Any]) -> str:
    text = line.get("text", "")
    return text if isinstance(text, str) else " | ".join(map(str, text))


def _boxes(line: Mapping[str, Any], image: Any) -> list[BoxAnnotation]:
    if "iou" not in line:
        return []
    height, width = image.shape[:2]
    true, predicted = (
        [value * side for value, side in zip(line[key], (width, height, width, height), strict=True)]
        for key in ("true_box_xyxy", "box_xyxy")
    )
    return [BoxAnnotation(true, color=COLORS[0]), BoxAnnotation(predicted, color=COLORS[0], dashed=True)]
