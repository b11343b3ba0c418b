import json

import pytest

from tests.commands.test_make_shards import png
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.datasets.file_formats.lines_or_shards import LinesOrShards
from x2vlm.data.shard_writing.shard_manifest import ShardManifest
from x2vlm.data.shard_writing.write_shards import write_shards


@pytest.fixture
def lines(tmp_path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "a.png").write_bytes(png(3))
    elems = [{"bb": [0, 0, 3, 3], "caption": "dog"}]
    rows = [{"image": "a.png", "image_id": n, "elems": elems} for n in range(3)]
    (tmp_path / "lines" / "a.jsonl").write_text("{broken\n" + "".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "lines" / "a.jsonl"


def test_lines_and_the_shards_made_of_them_hold_the_same_records(lines, tmp_path):
    source = JsonLines(lines, tmp_path, kind="object")
    request = {"records": [0, len(source)], "shard_records": 2, "shard_bytes": 10**6, "decode": True}
    write_shards(source, ShardManifest.open(tmp_path, "packed", request, 0), max_bad=1)
    plain = LinesOrShards(lines, tmp_path, kind="object", subset=dict(start=1))
    packed = LinesOrShards(str(tmp_path / "packed-*.jsonl"), tmp_path, kind="object")
    assert (len(plain), len(packed)) == (3, 3)
    for index in range(3):
        one, other = plain.record(index), packed.record(index)
        assert (one["id"], one["elems"]) == (other["id"], other["elems"])
        assert other["elems"] == [{"kind": "object", "bb": [0, 0, 3, 3], "caption": "dog"}]
        assert one["image"].read_bytes() == other["image"]


def test_a_mixture_of_both_is_refused(lines, tmp_path):
    index = tmp_path / "lines" / "b.jsonl"
    index.write_text(json.dumps({"key": "1", "shard": "b.tar", "member": "b.png", "captions": ["x"]}) + "\n")
    with pytest.raises(ValueError, match=r"b\.jsonl is the index of a tar shard, and .*a\.jsonl is none"):
        LinesOrShards(str(tmp_path / "lines" / "*.jsonl"))
