"""Streams: any place at once, the same whatever the workers; bad records counted, named, and never in the way."""

import json

import pytest
import torch

from x2vlm.data.bad_record_log import BadRecordLog, TooManyBadRecordsError
from x2vlm.data.batch import BadRecord, Batch


def test_bad_records_are_written_once_each(tmp_path):
    log = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1.0)
    batch = Batch(
        torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("a:1", "torn"), BadRecord("a:2", "empty")], drawn=4
    )
    log.note("image", batch)
    log.note("image", batch)
    lines = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert lines == [
        {"stream": "image", "where": "a:1", "reason": "torn"},
        {"stream": "image", "where": "a:2", "reason": "empty"},
    ]
    assert (log.counts["image"].bad, log.counts["image"].drawn) == (4, 8)


def test_a_few_bad_records_do_not_stop_anything_and_many_do(tmp_path):
    log = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=0.1, min_records=20)
    good = Batch(torch.zeros(1, 1), torch.ones(1, 1), drawn=10)
    torn = Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("a:7", "torn")] * 2, drawn=2)
    log.note("image", torn)  # 2 of 2, but far too early to say
    log.note("image", good)
    log.note("image", good)  # 2 of 22
    with pytest.raises(TooManyBadRecordsError, match=r"stream 'image': 4 of the 24 .*max_fraction=0.1(.|\n)*a:7: torn"):
        log.note("image", torn)


def test_the_share_is_judged_per_stream():
    log = BadRecordLog(max_fraction=0.1, min_records=2)
    log.note("image", Batch(torch.zeros(1, 1), torch.ones(1, 1), drawn=1000))
    with pytest.raises(TooManyBadRecordsError, match="stream 'video'"):
        log.note("video", Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("v", "torn")], drawn=2))


def test_the_log_names_few_bad_records_one_by_one(monkeypatch):
    messages = []
    monkeypatch.setattr("x2vlm.data.bad_record_log.print_log", lambda text, **_: messages.append(text))
    log = BadRecordLog(max_fraction=1.0)
    bad = [BadRecord(f"a:{n}", "torn") for n in range(100)]
    log.note("image", Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=bad, drawn=100))
    assert len(messages) == 5 + 4  # the first five, then 8, 16, 32, 64
    assert "stream 'image': bad record 64: a:63: torn" in messages[-1]


def test_a_bad_record_log_goes_on_where_it_was(tmp_path):
    batch = Batch(torch.zeros(1, 1), torch.ones(1, 1), bad=[BadRecord("a:1", "torn")], drawn=4)
    before = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1.0)
    before.note("image", batch)
    after = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1.0)
    after.load_state_dict(before.state_dict())
    after.note("image", batch)
    assert after.counts["image"].drawn == 8
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 1
