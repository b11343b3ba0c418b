import pickle

import pytest

from x2vlm.building import build
from x2vlm.data.datasets.file_formats.plain_text import ParallelText, PlainText
from x2vlm.data.record import RecordError
from x2vlm.registry import DATASETS


@pytest.fixture
def write_text(tmp_path):
    def write(text, name="a.txt"):
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    return write


def test_a_line_is_a_record_and_blank_lines_are_none(write_text):
    data = PlainText(write_text("one\n\n zwölf \n"))
    assert [data.record(i) for i in range(len(data))] == [
        {"where": "a.txt:1", "id": "a.txt:1", "text": "one", "extras": {}},
        {"where": "a.txt:3", "id": "a.txt:3", "text": " zwölf ", "extras": {}},
    ]


def test_sentences_can_stand_in_json_lines(write_lines):
    data = PlainText(write_lines({"text": {"en": "a cat"}}, {"text": "a dog"}), key=("text.en", "text"))
    assert [data.record(i)["text"] for i in range(2)] == ["a cat", "a dog"]


@pytest.mark.parametrize("line", [{"texts": "a"}, {"text": 3}, {"text": None}])
def test_a_json_line_without_text_is_named(write_lines, line):
    with pytest.raises(RecordError, match=r"^train\.jsonl:1: expected a text under 'text'"):
        PlainText(write_lines(line), key="text").record(0)


def test_several_files_and_subsets(write_text):
    files = [write_text("1\n2\n", "a.txt"), write_text("3\n4\n", "b.txt")]
    data = PlainText(files, subset=dict(start=1, stop=3))
    assert [data.record(i)["where"] for i in range(len(data))] == ["a.txt:2", "b.txt:1"]
    assert pickle.loads(pickle.dumps(data)).record(1) == data.record(1)


def test_an_empty_file_and_a_missing_one_are_reported(write_text):
    with pytest.raises(ValueError, match="no record is left: the data has 0"):
        PlainText(write_text(""))
    with pytest.raises(FileNotFoundError, match=r"files: gone\.txt"):
        PlainText("gone.txt")


def test_the_same_line_of_all_files_belongs_together_blank_ones_included(write_text):
    data = ParallelText(
        dict(en=write_text("a cat\n\na dog", "t.en"), de=write_text("eine Katze\n\nein Hund\n", "t.de"))
    )
    assert len(data) == 3
    expected = {"where": "t.en:3", "id": "t.en:3", "parallel": {"en": "a dog", "de": "ein Hund"}, "extras": {}}
    assert data.record(2) == expected
    with pytest.raises(RecordError, match=r"^t\.en:2: text in fewer than two of the languages en, de"):
        data.record(1)


def test_a_missing_language_is_left_out_where_two_others_are_there(write_text):
    files = {name: write_text(text, f"t.{name}") for name, text in (("en", "a\n"), ("de", " \n"), ("fr", "b\n"))}
    assert ParallelText(files).record(0)["parallel"] == {"en": "a", "fr": "b"}


def test_unequal_line_counts_name_the_files(write_text):
    files = dict(en=write_text("a\nb\n", "t.en"), de=write_text("a\n", "t.de"))
    with pytest.raises(ValueError, match=r"same number of lines, but .*t\.en has 2, .*t\.de has 1"):
        ParallelText(files)


def test_all_languages_can_stand_in_one_json_line(write_lines):
    ann = write_lines({"source_text": "a cat", "target_text": "eine Katze"}, {"source_text": "a dog"})
    data = ParallelText(ann, keys=dict(en="source_text", de="target_text"))
    assert data.record(0)["parallel"] == {"en": "a cat", "de": "eine Katze"}
    with pytest.raises(RecordError, match=r"^train\.jsonl:2: "):
        data.record(1)


@pytest.mark.parametrize("options", [dict(files=dict(en="a")), dict(files="a"), dict(files="a", keys=dict(en="x"))])
def test_fewer_than_two_languages_are_refused(options):
    with pytest.raises(ValueError, match="needs at least two languages"):
        build(DATASETS, dict(type="ParallelText", **options))


def test_files_by_language_do_not_go_with_keys(write_text):
    files = dict(en=write_text("a"), de=write_text("b"))
    with pytest.raises(ValueError, match="needs at least two languages"):
        ParallelText(files, keys=dict(en="x", de="y"))


def test_the_real_parallel_text_has_its_lines(shared):
    folder = shared / "data" / "multi30k_text"
    data = ParallelText({name: folder / f"train.{name}" for name in ("en", "de", "fr", "cs")})
    assert len(data) == 2000
    assert all(len(data.record(i)["parallel"]) == 4 for i in range(len(data)))
    assert len(PlainText(folder / "*.en")) == 3000
