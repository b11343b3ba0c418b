import json

import pytest

from x2vlm.data.datasets.file_formats.tables import Table
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.texts.text_transforms import PickText

PAIRS = dict(text="sentence1", text_pair="sentence2", label="label")


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_rows_are_records_with_the_fields_of_the_columns(write):
    path = write(
        "train.tsv", 'index\tsentence1\tsentence2\tlabel\n0\tA "dog.\tAn animal.\tentailment\n1\tx\ty\tneutral\n'
    )
    data = Table(
        path, PAIRS | {"extras": ["index"]}, pipeline=[PickText(clean=False), PickLabel(("entailment", "neutral"))]
    )
    assert len(data) == 2
    assert data[0]["texts"] == [('A "dog.', "An animal.")]
    assert [data[n]["labels"] for n in range(2)] == [[0], [1]]
    assert data[1]["extras"] == {"index": "1"} and data[1]["where"] == data[1]["id"] == "train.tsv:3"


def test_columns_of_a_table_without_headings_are_numbers(write):
    path = write("cola.tsv", "gj04\t1\t\tFine.\nks08\t0\t*\tBad the.\n")
    data = Table(path, dict(text=3, label=1), header=False)
    assert [(data[n]["text"], data[n]["label"]) for n in range(2)] == [("Fine.", "1"), ("Bad the.", "0")]
    with pytest.raises(ValueError, match="'sentence' is a name, but header=False"):
        Table(path, dict(text="sentence"), header=False)


def test_quoted_cells_hold_commas_and_line_ends(write):
    data = Table(
        write("qa.csv", 'question,answer\n"who, and\nwhy?",me\nwhere,"a ""b"""\n'),
        dict(question="question", answers="answer"),
    )
    assert [data[n]["question"] for n in range(2)] == ["who, and\nwhy?", "where"]
    assert [data[n]["answers"] for n in range(2)] == [["me"], ['a "b"']]
    assert [data[n]["where"] for n in range(2)] == ["qa.csv:2", "qa.csv:4"]


def test_videos_are_found_by_a_map_and_a_pattern(write, tmp_path):
    path = write("val.csv", "video,question,answer,more\n4010,what?,dog,\n77,who?,cat,kitten\n")
    (tmp_path / "map.json").write_text(json.dumps({"4010": "1164/4010"}))
    columns = dict(video="video", question="question", answers=["answer", "more"])
    data = Table(path, columns, image_root=tmp_path, file_pattern="{}.mp4", file_map=tmp_path / "map.json")
    assert data[0]["video"] == tmp_path / "1164" / "4010.mp4" and data[0]["id"] == "4010"
    assert data[0]["answers"] == ["dog"]
    with pytest.raises(RecordError, match=r"val\.csv:3: file_map has no file for '77'"):
        data[1]


def test_a_number_can_be_part_of_a_file_name(write, tmp_path):
    path = write("a.csv", "id,c\n42,dog\nx,cat\n")
    data = Table(path, dict(image="id", caption="c"), file_pattern="COCO_{:06d}.jpg")
    assert data[0]["image"] == tmp_path / "COCO_000042.jpg"
    with pytest.raises(RecordError, match="needs a number, got 'x'"):
        data[1]


@pytest.mark.parametrize("pattern", ["a.mp4", "{}{}.mp4", "{0.__class__}.mp4", "{name}.mp4"])
def test_a_pattern_has_one_plain_gap(write, pattern):
    with pytest.raises(ValueError, match="expected one placeholder"):
        Table(write("a.csv", "v\nx\n"), dict(video="v"), file_pattern=pattern)


def test_a_name_that_leads_out_of_the_folder_is_refused(write):
    with pytest.raises(RecordError, match="lies outside the folder"):
        Table(write("a.csv", "v\n../x\n"), dict(video="v"), file_pattern="{}.mp4")[0]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        (dict(txt="a"), "columns has no 'txt'. Did you mean 'text'"),
        (dict(text="aa"), "no column 'aa'"),
        ({}, "columns is empty"),
    ],
)
def test_a_wrong_column_is_reported_when_the_adapter_is_made(write, columns, reason):
    with pytest.raises(ValueError, match=reason):
        Table(write("a.csv", "a,b\n1,2\n"), columns)


def test_a_short_row_is_one_bad_record(write):
    data = Table(write("a.tsv", "sentence1\tsentence2\tlabel\na\tb\tneutral\nc\n"), PAIRS)
    assert data[0]["label"] == "neutral"
    with pytest.raises(RecordError, match=r"a\.tsv:3: the row is too short: it has no text_pair, label"):
        data[1]


def test_an_unknown_ending_needs_a_delimiter(write):
    path = write("a.txt", "a;b\n1;2\n")
    with pytest.raises(ValueError, match="set delimiter="):
        Table(path, dict(text="b"))
    assert Table(path, dict(text="b"), delimiter=";")[0]["text"] == "2"


def test_a_range_of_rows_and_a_list_of_identities_to_leave_out(write):
    path = write("a.csv", "id,c\n1,a\n2,b\n3,c\n")
    data = Table(path, dict(id="id", caption="c"), subset=dict(start=1, exclude_ids=["3"]))
    assert [data[n]["caption"] for n in range(len(data))] == ["b"]
