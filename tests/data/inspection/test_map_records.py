import pytest

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.inspection.map_records import map_records
from x2vlm.data.inspection.record_facts import ExtractFacts
from x2vlm.data.record import RecordError


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


def test_every_record_is_read_once_in_order_and_a_broken_one_is_reported():
    results = list(map_records(Numbers(6), double))
    assert [entry.index for entry in results] == [0, 1, 2, 3, 4, 5]
    assert [entry.value for entry in results] == [0, 2, 4, None, 8, 10]
    assert [(entry.bad.where, entry.bad.reason) for entry in results if entry.bad] == [("numbers:4", "three is broken")]


def test_a_range_is_read_alone():
    assert [entry.index for entry in map_records(Numbers(), double, start=4, stop=7)] == [4, 5, 6]


def lines(write_lines, png, tmp_path, *more):
    (tmp_path / "a.png").write_bytes(png(size=(8, 6)))
    (tmp_path / "broken.png").write_bytes(png()[:30])
    return write_lines({"image": "a.png", "caption": "a red card", "image_id": "1"}, *more)


@pytest.mark.slow
def test_several_processes_give_what_one_gives(write_lines, png, tmp_path):
    rows = [{"image": "broken.png" if i % 50 == 7 else "a.png", "caption": "x", "image_id": i} for i in range(150)]
    data = JsonLines(lines(write_lines, png, tmp_path, *rows))
    single, together = list(map_records(data, ExtractFacts())), list(map_records(data, ExtractFacts(), workers=2))
    assert together == single
    assert sum(entry.bad is not None for entry in single) == 3


@pytest.mark.slow
def test_a_record_that_kills_its_process_is_named_and_no_other_is_lost(tmp_path, monkeypatch):
    # The classes have to be importable in the processes that are started.
    (tmp_path / "deadly_numbers.py").write_text(
        "import os\nfrom x2vlm.data.datasets.file_formats.jsonl import JsonLines\n\n\n"
        "def read_or_die(adapter, index):\n"
        "    if adapter.record(index)['id'] == 'deadly':\n        os._exit(11)\n    return index\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    from deadly_numbers import read_or_die

    ids = ["deadly" if i == 2 else str(i) for i in range(5)]
    (tmp_path / "a.jsonl").write_text("".join(f'{{"image": "a.png", "caption": "x", "id": "{i}"}}\n' for i in ids))
    results = list(map_records(JsonLines(tmp_path / "a.jsonl"), read_or_die, workers=1))
    assert [entry.value for entry in results] == [0, 1, None, 3, 4]
    assert (results[2].bad.where, results[2].bad.reason) == ("a.jsonl:3", "the process that decoded it died of it")
