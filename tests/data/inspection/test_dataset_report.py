import numpy as np
import pytest

from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.inspection.dataset_report import DatasetReport
from x2vlm.data.inspection.map_records import map_records
from x2vlm.data.inspection.record_facts import ExtractFacts


def lines(write_lines, png, tmp_path, *more):
    (tmp_path / "a.png").write_bytes(png(size=(8, 6)))
    (tmp_path / "broken.png").write_bytes(png()[:30])
    return write_lines({"image": "a.png", "caption": "a red card", "image_id": "1"}, *more)


def test_figures_are_percentiles_and_repeated_identities_are_named(write_lines, png, tmp_path):
    rows = [{"image": "a.png", "caption": "w " * n, "image_id": "twice" if n in (2, 5) else n} for n in range(1, 6)]
    data = JsonLines(lines(write_lines, png, tmp_path, *rows))
    report = DatasetReport()
    for results in map_records(data, ExtractFacts()):
        report.add(results, data)
    words = report.percentiles()["words"]
    assert (words["count"], words["p0"], words["p50"], words["p100"]) == (6, 1, 3, 5)
    assert words["p95"] == pytest.approx(np.percentile([3, 1, 2, 3, 4, 5], 95))
    assert report.percentiles()["aspect"]["mean"] == pytest.approx(8 / 6)
    # The first line and the fourth are both called "1", as the number 1 is.
    count, named = report.duplicates(data)
    assert count == 2
    assert {entry["id"]: entry["where"] for entry in named} == {
        "1": ["train.jsonl:1", "train.jsonl:2"],
        "twice": ["train.jsonl:3", "train.jsonl:6"],
    }
