import os

import numpy as np
import pytest

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.record import RecordError
from x2vlm.data.shard_writing.shard_record import EncodeRecord
from x2vlm.data.shard_writing.shard_writer import ShardVerificationError, ShardWriter


class Records(Adapter):
    def __init__(self, *records):
        super().__init__()
        self.records = records

    def __len__(self):
        return len(self.records)

    def record(self, index):
        return {"where": f"here:{index + 1}", "id": f"r{index}", "extras": {}, **self.records[index]}


def packed_and_read(folder, *records, decode=True):
    """What TarShards gives for records that were packed."""
    source, shard = Records(*records), ShardWriter(folder, "s-00000")
    for index in range(len(source)):
        shard.add(EncodeRecord(decode)(source, index))
    shard.finish()
    data = TarShards(folder / "s-00000.jsonl")
    return [{k: v for k, v in data.record(i).items() if k not in ("where", "id")} for i in range(len(data))]


def test_an_image_comes_back_byte_for_byte_from_a_file_or_from_bytes(tmp_path, png):
    (tmp_path / "a.png").write_bytes(png())
    actual = packed_and_read(
        tmp_path, {"image": tmp_path / "a.png", "caption": "a"}, {"image": png((0, 0, 9)), "caption": ["b", "c"]}
    )
    assert actual == [
        {"image": png(), "caption": "a", "extras": {}},
        {"image": png((0, 0, 9)), "caption": ["b", "c"], "extras": {}},
    ]


def test_elements_extras_and_captions_by_language_are_kept(tmp_path, png):
    elem = {"bb": (1, 2.5, 3, 4), "caption": {"en": "a dog", "de": ["Hund"]}, "attributes": ["red"], "kind": "object"}
    record = {"image": png(), "caption": {"en": ["a", "b"], "de": "c"}, "elems": [elem], "extras": {"label": True}}
    (actual,) = packed_and_read(tmp_path, record)
    assert actual == record | {"elems": [elem | {"bb": [1, 2.5, 3, 4]}]}


def test_a_record_without_text_but_with_elements_is_kept(tmp_path, png):
    record = {"image": png(), "elems": [{"bb": [0, 0, 2, 2], "caption": "x"}], "extras": {}}
    assert packed_and_read(tmp_path, record) == [record]


def test_videos_frames_clips_and_images_read_together_are_kept(tmp_path, png):
    a, b = png((1, 0, 0)), png((2, 0, 0))
    records = [
        {"video": [a, b], "caption": "frames", "extras": {}},
        {"clips": [{"video": [a], "caption": "one"}, {"video": [b, a], "caption": "two"}], "extras": {}},
        {"images": [a, b], "caption": "both", "label": 1, "extras": {}},
    ]
    assert packed_and_read(tmp_path, *records, decode=False) == records


def test_a_video_file_keeps_its_bytes(tmp_path, write_clip):
    clip = write_clip(frames=4)
    (actual,) = packed_and_read(tmp_path, {"video": clip, "caption": "x"})
    assert actual["video"] == clip.read_bytes()


def test_questions_texts_and_whatever_else_a_record_has_are_kept(tmp_path, png):
    records = [
        {"text": "a sentence", "extras": {}},
        {"parallel": {"en": "a", "de": "b"}, "extras": {}},
        {"image": png(), "question": "what?", "answers": [["dog", 0.5], ["cat", 0.5]], "extras": {}},
    ]
    assert packed_and_read(tmp_path, *records) == records


def test_an_array_is_written_without_loss(tmp_path):
    from x2vlm.data.io.image_decoding import decode_image

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    (actual,) = packed_and_read(tmp_path, {"image": image, "caption": "x"})
    assert np.array_equal(decode_image(actual["image"], ""), image)


def test_the_same_records_make_the_same_file(tmp_path, png):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        packed_and_read(tmp_path / name, {"image": png(), "caption": "x"})
    for file in ("s-00000.tar", "s-00000.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_shard_that_reads_back_otherwise_is_not_put_in_place(tmp_path, png, monkeypatch):
    shard = ShardWriter(tmp_path, "s-00000")
    shard.add(EncodeRecord()(Records({"image": png(), "caption": "x"}), 0))
    sync = os.fsync

    def failing_disk(handle):
        sync(handle)
        tar = shard.temporary / shard.tar
        if not tar.exists():
            return
        data = bytearray(tar.read_bytes())
        data[512 + 20] = 0xAA
        tar.write_bytes(data)

    monkeypatch.setattr(os, "fsync", failing_disk)
    with pytest.raises(ShardVerificationError, match="reads back as another record"):
        shard.finish()
    shard.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_keeps_nothing_of_a_shard_that_is_given_up(tmp_path):
    shard = ShardWriter(tmp_path, "s-00000")
    shard._tar_file.close()
    shard._tar_file = open("/dev/full", "wb")  # noqa: SIM115  (closed by the shard)
    shard._tar_file.write(b"what cannot be flushed")
    shard.abandon()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"fields": 3},
        {"fields": {"video": "0.png"}},
        {"fields": {"video": {"member": "gone.png"}}},
        {"fields": {"image": ["0.png"]}},
        {"fields": {"clips": [3]}},
        {"fields": {"clips": [{"caption": "no video"}]}},
        {"fields": {"text": 3}},
        {"extras": [1]},
        {"elems": 3},
    ],
)
def test_a_mangled_index_gives_bad_records_and_no_crash(change, write_lines, write_tar, png):
    write_tar(("0.png", png()))
    index = write_lines({"key": "k", "shard": "shard.tar", "member": "0.png", "captions": "x", **change})
    with pytest.raises(RecordError, match=r"^train\.jsonl:1: "):
        TarShards(index).record(0)
