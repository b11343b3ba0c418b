import numpy as np
import pytest

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.jsonl import JsonLines
from x2vlm.data.record import RecordError
from x2vlm.data.tools.dataset_report import Depict, Examine, Survey, facts_of, read_all
from x2vlm.data.transforms.image import LoadImage


class Numbers(Adapter):
    """Record 3 is broken."""

    def __init__(self, total=12):
        super().__init__()
        self.total = total

    def __len__(self):
        return self.total

    def record(self, index):
        if index == 3:
            raise RecordError("numbers:4", "three is broken")
        return {"where": f"numbers:{index + 1}", "id": str(index), "extras": {}}


def double(adapter, index):
    return 2 * int(adapter[index]["id"])


def test_every_record_is_looked_at_once_in_order_and_a_broken_one_is_told():
    seen = list(read_all(Numbers(6), double))
    assert [one.index for one in seen] == [0, 1, 2, 3, 4, 5]
    assert [one.value for one in seen] == [0, 2, 4, None, 8, 10]
    assert [(one.bad.where, one.bad.reason) for one in seen if one.bad] == [("numbers:4", "three is broken")]


def test_a_range_is_read_alone():
    assert [one.index for one in read_all(Numbers(), double, start=4, stop=7)] == [4, 5, 6]


def lines(write_lines, png, tmp_path, *more):
    (tmp_path / "a.png").write_bytes(png(size=(8, 6)))
    (tmp_path / "broken.png").write_bytes(png()[:30])
    return write_lines({"image": "a.png", "caption": "a red card", "image_id": "1"}, *more)


@pytest.mark.slow
def test_several_processes_see_what_one_sees(write_lines, png, tmp_path):
    rows = [{"image": "broken.png" if i % 50 == 7 else "a.png", "caption": "x", "image_id": i} for i in range(150)]
    data = JsonLines(lines(write_lines, png, tmp_path, *rows))
    alone, together = list(read_all(data, Examine())), list(read_all(data, Examine(), workers=2))
    assert together == alone
    assert sum(one.bad is not None for one in alone) == 3


@pytest.mark.slow
def test_a_record_that_kills_its_process_is_named_and_no_other_is_lost(tmp_path, monkeypatch):
    # The classes have to be importable in the processes that are started.
    (tmp_path / "deadly_numbers.py").write_text(
        "import os\nfrom x2vlm.data.datasets.jsonl import JsonLines\n\n\n"
        "def look(adapter, index):\n"
        "    if adapter.record(index)['id'] == 'deadly':\n        os._exit(11)\n    return index\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from deadly_numbers import look

    ids = ["deadly" if i == 2 else str(i) for i in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"image": "a.png", "caption": "x", "id": "{i}"}}\n' for i in ids))
    seen = list(read_all(JsonLines(tmp_path / "a.jsonl"), look, workers=1))
    assert [one.value for one in seen] == [0, 1, None, 3, 4]
    assert (seen[2].bad.where, seen[2].bad.reason) == ("a.jsonl:3", "the process that decoded it died of it")


def test_a_picture_is_decoded_where_there_is_no_pipeline(write_lines, png, tmp_path):
    data = JsonLines(lines(write_lines, png, tmp_path, {"image": "broken.png", "caption": "x"}))
    good, bad = read_all(data, Examine())
    assert (good.value.size, good.value.words) == ((8, 6), [3])
    assert bad.bad.where == "train.jsonl:2"
    assert data.pipeline == []  # as it was


def test_a_pipeline_judges_as_training_would(write_lines, png, tmp_path):
    def refuse(record):
        raise RecordError(record["where"], f"{record['caption']} is refused")

    data = JsonLines(lines(write_lines, png, tmp_path), pipeline=[LoadImage(), refuse])
    (seen,) = read_all(data, Examine())
    assert seen.bad.reason == "a red card is refused"


def test_frames_of_a_video_are_decoded(write_lines, png, tmp_path):
    data = JsonLines(lines(write_lines, png, tmp_path, {"frames": ["a.png", "a.png"], "caption": "x"}))
    assert Depict(num_frames=2)(data.record(1))["frames"][0].shape == (6, 8, 3)
    assert list(read_all(data, Examine()))[1].value.size == (8, 6)


def test_facts_count_texts_in_every_shape_and_boxes_that_fit():
    record = {
        "id": "1",
        "caption": {"en": ["a dog", "two big dogs"], "de": "Hund"},
        "elems": [
            {"bb": [0, 0, 4, 3], "caption": "a", "kind": "object"},
            {"bb": [7, 0, 5, 3], "caption": "outside"},
            {"caption": "no box"},
        ],
    }
    facts = facts_of(record, (8, 6))
    assert facts.words == [2, 3, 1]
    assert facts.languages == ["en", "en", "de"]
    assert facts.boxes == [(4.0, 3.0, 0.25)]
    assert [text.split(":")[0] for text in facts.unusable] == ["elems[1] 'outside'", "elems[2] 'no box'"]
    assert facts.kinds == ["object", "not said", "not said"]


def test_figures_are_percentiles_and_repeated_identities_are_named(write_lines, png, tmp_path):
    rows = [{"image": "a.png", "caption": "w " * n, "image_id": "twice" if n in (2, 5) else n} for n in range(1, 6)]
    data = JsonLines(lines(write_lines, png, tmp_path, *rows))
    survey = Survey()
    for seen in read_all(data, Examine()):
        survey.add(seen, data)
    words = survey.percentiles()["words"]
    assert (words["count"], words["p0"], words["p50"], words["p100"]) == (6, 1, 3, 5)
    assert words["p95"] == pytest.approx(np.percentile([3, 1, 2, 3, 4, 5], 95))
    assert survey.percentiles()["aspect"]["mean"] == pytest.approx(8 / 6)
    # The first line and the fourth are both called "1", as the number 1 is.
    count, named = survey.duplicates(data)
    assert count == 2
    assert {one["id"]: one["where"] for one in named} == {
        "1": ["train.jsonl:1", "train.jsonl:2"],
        "twice": ["train.jsonl:3", "train.jsonl:6"],
    }
