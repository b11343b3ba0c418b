"""What an evaluation got wrong: the confusion of classes, and the mistakes of which the model is surest."""

import json

import pytest

from tests.inference.report.test_page import Tags
from x2vlm.building import build
from x2vlm.inference.report.mistakes import (
    ConfusionTable,
    Mistake,
    confusion_table,
    evaluation_mistakes,
    mistakes_of,
    read_predictions,
)
from x2vlm.inference.report.page import Report, progress_charts
from x2vlm.registry import DATASETS

WORLD = dict(type="ToyWorld", kind="region", num_scenes=4, split="test", image_size=64)
NAMES = ("false", "true")


def answer(label, predicted, probability, where="toy:0"):
    fields = dict(predicted=predicted, label=label, probability=probability)
    return dict(where=where, text="a star", correct=None if label is None else label == predicted) | fields


def phrase(iou, confidence, where="toy-region-test:2"):
    boxes = dict(box_xyxy=[0.1, 0.1, 0.5, 0.5], true_box_xyxy=[0.5, 0.5, 1.0, 1.0])
    return dict(where=where, text="red star", iou=iou, confidence=confidence) | boxes


def test_classes_are_counted_by_what_is_right_and_what_was_said():
    lines = [answer(0, 0, 0.9), answer(0, 1, 0.8), answer(1, 1, 0.7), answer(None, 1, 0.9)]
    table = confusion_table("pairs", lines, NAMES)
    assert (table.classes, table.counts, table.left_out) == (["false", "true"], [[1, 1], [0, 1]], 0)
    assert confusion_table("phrases", [phrase(0.1, 0.9)], ()) is None


def test_of_many_classes_those_that_are_confused_are_shown():
    lines = [answer(number, number, 0.9) for number in range(100)] + [answer(41, 77, 0.6)] * 2
    table = confusion_table("many", lines, [])
    assert {"41", "77"} <= set(table.classes)
    assert len(table.classes) == 12
    assert table.left_out == 88
    assert table.counts[table.classes.index("41")][table.classes.index("77")] == 2


def test_the_mistakes_of_which_the_model_is_surest_come_first():
    lines = [answer(0, 0, 0.99), answer(0, 1, 0.6, "toy:1"), answer(1, 0, 0.9, "toy:2"), answer(None, 1, 1.0)]
    found = mistakes_of(lines, NAMES)
    assert [(one.where, one.predicted, one.expected) for one in found] == [
        ("toy:2", "false", "true"),
        ("toy:1", "true", "false"),
    ]
    assert mistakes_of(lines, NAMES, count=1) == found[:1]


def test_boxes_that_miss_are_drawn_on_their_image():
    dataset = build(DATASETS, WORLD, "dataset")
    where = dataset.record(2)["where"]
    lines = [phrase(0.8, 0.9), phrase(0.2, 0.3, where), phrase(0.1, 0.7, "not-there:9")]
    first, second = mistakes_of(lines, (), dataset)
    assert (first.predicted, first.confidence, first.image) == ("IoU 10 %", 0.7, "")
    assert second.where == where
    assert second.image.startswith("data:image/png")


def test_without_confidences_the_smallest_overlap_comes_first():
    lines = [{key: value for key, value in phrase(iou, 0).items() if key != "confidence"} for iou in (0.3, 0.1)]
    assert [one.predicted for one in mistakes_of(lines, ())] == ["IoU 10 %", "IoU 30 %"]


def test_files_of_predictions_become_tables_and_mistakes(tmp_path):
    file = tmp_path / "grounding.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in [phrase(0.1, 0.9), phrase(0.9, 0.9)]))
    files = {"grounding": file, "pairs": tmp_path / "absent.jsonl"}
    tables, mistakes = evaluation_mistakes({"grounding": dict(dataset=WORLD)}, files, {})
    assert tables == []
    assert len(mistakes["grounding"]) == 1
    file.write_text("{oops}\n")
    with pytest.raises(ValueError, match=r"grounding\.jsonl:1 is not JSON"):
        read_predictions(file)


def test_the_page_shows_confusion_and_mistakes_and_escapes_texts():
    evil = "<script>alert(1)</script>"
    page = Tags(
        Report(
            "Test",
            {"pairs/accuracy": 50.0},
            confusions=[ConfusionTable("pairs", [evil, "true"], [[0, 3], [0, 5]])],
            mistakes={"pairs": [Mistake("toy:1", evil, "true", evil, 0.93)]},
        ).html()
    )
    assert {"Confusion", "Worst mistakes: pairs", "93 %", "3", "5", evil} <= set(page.text)
    assert "script" not in [tag for tag, _ in page.tags]
    cells = [attrs for tag, attrs in page.tags if tag == "td" and "style" in attrs]
    assert [(cell["class"], cell["style"]) for cell in cells] == [
        ("hit", "--s: 0%"),
        ("miss", "--s: 100%"),
        ("none", "--s: 0%"),
        ("hit", "--s: 100%"),
    ]


def test_accuracies_of_classes_and_answers_are_drawn_over_the_run():
    series = {
        "pairs/accuracy": [(1, 50.0), (2, 70.0)],
        "pairs/majority_accuracy": [(1, 50.0), (2, 50.0)],
        "questions/exact_match": [(1, 3.0)],
    }
    pairs, questions = progress_charts(series)
    assert [(line.name, line.dashed) for line in pairs.lines] == [("accuracy", False), ("most frequent class", True)]
    assert [line.name for line in questions.lines] == ["exact match"]
