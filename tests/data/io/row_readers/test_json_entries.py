import json
import pickle

import pytest

from x2vlm.data.io.row_readers.json_entries import JsonEntries, member
from x2vlm.data.record import RecordError

ROWS = [{"id": 1, "text": "läuft"}, {"id": 2, "text": "犬"}, {"id": 3, "text": "dog"}]


@pytest.fixture
def write(tmp_path):
    def write(value, **options):
        text = value if isinstance(value, str) else json.dumps(value, **options)
        (tmp_path / "a.json").write_text(text, encoding="utf-8")
        return tmp_path / "a.json"

    return write


@pytest.mark.parametrize("options", [{}, dict(indent=2), dict(ensure_ascii=False), dict(ensure_ascii=False, indent=1)])
@pytest.mark.parametrize("key", [None, "rows"])
def test_entries_of_an_array_are_read_by_number_and_looked_up(write, options, key):
    value = ROWS if key is None else {"info": {"rows": [1]}, "rows": ROWS, "after": [{}]}
    entries = JsonEntries(write(value, **options), "ann_file", key, lambda row: row["id"])
    assert [entries.read(n) for n in range(len(entries))] == ROWS
    assert (entries.position(2), entries.position(9), entries.where(2)) == (1, None, "a.json[2]")
    assert pickle.loads(pickle.dumps(entries)).read(1) == ROWS[1]


@pytest.mark.parametrize("options", [{}, dict(indent=2, ensure_ascii=False)])
def test_values_of_an_object_are_entries_with_names(write, options):
    entries = JsonEntries(write({row["text"]: row for row in ROWS}, **options), "questions_file")
    assert entries.names == entries.ids == ["läuft", "犬", "dog"]
    assert entries.read(entries.position("犬")) == ROWS[1]
    assert entries.where(2) == "a.json['dog']"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "breaks after 0 entries"),
        ("[]", "has no entries"),
        ('[{"id": 1}, {"id"', "breaks after 1 entries"),
        ('{"rows": [1]', "breaks"),
        ("7", "expected an array or an object"),
        ('[{"id": 1} {"id": 2}]', "expected ',' or ']'"),
        ('{"a": {"n": 1}}\n{"a": {"n": 2}}\n', "behind its end stands .*JSON lines are another format"),
        ("[1, 2", "breaks after 2 entries: it ends in the middle"),
    ],
)
def test_a_broken_file_is_told(write, text, reason):
    with pytest.raises(ValueError, match=rf"ann_file: .*a\.json .*{reason}"):
        JsonEntries(write(text), "ann_file")


def test_a_missing_member_is_told(write):
    with pytest.raises(ValueError, match=r"breaks under 'images' after 0 entries: it has no 'images'"):
        JsonEntries(write({"rows": ROWS}), "ann_file", "images")


def test_an_entry_that_is_no_object_is_a_bad_record(write):
    with pytest.raises(RecordError, match=r"^a\.json\[1\]: expected an object, got 7"):
        JsonEntries(write([{}, 7]), "ann_file").read(1)


def test_a_small_member_is_read_alone(write):
    file = write({"rows": ROWS, "dataset": "coco"})
    assert (member(file, "ann_file", "dataset"), member(file, "ann_file", "other")) == ("coco", None)
