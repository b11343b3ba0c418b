import json

from x2vlm.data.shard_writing.record_list import RecordList


def entries(file):
    return [json.loads(line)["n"] for line in file.read_text().splitlines()]


def test_what_was_written_after_the_last_commit_is_dropped(tmp_path):
    file = tmp_path / "a.bad"
    with RecordList(file) as first:
        first.add({"n": 0})
        first.add({"n": 1})
        committed = first.commit()
        first.add({"n": 2})
    assert entries(file) == [0, 1, 2]
    with RecordList(file, committed) as again:
        again.add({"n": 3})
        assert again.commit() == 3
    assert entries(file) == [0, 1, 3]


def test_half_a_line_is_dropped_too(tmp_path):
    (tmp_path / "a.bad").write_text('{"n": 0}\n{"n": ')
    with RecordList(tmp_path / "a.bad", 1) as again:
        again.add({"n": 1})
    assert entries(tmp_path / "a.bad") == [0, 1]


def test_there_is_no_file_without_an_entry(tmp_path):
    (tmp_path / "a.bad").write_text('{"n": 0}\n')
    with RecordList(tmp_path / "a.bad") as fresh:
        fresh.commit()
    assert not list(tmp_path.iterdir())
