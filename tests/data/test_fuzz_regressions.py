"""Regressions of what fuzzing found: each is a bad record now; and the limits that a config sets."""

import io
import json
import os
import random
import tarfile
import time

import pytest

from tests.data import hostile
from x2vlm.data.bad_record_log import BadRecordLog, TooManyBadRecordsError, format_bad_records
from x2vlm.data.batch import BadRecord, Batch
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.datasets.file_formats.plain_text import PlainText
from x2vlm.data.datasets.file_formats.tables import Table
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.datasets.file_formats.webdataset import WebDataset
from x2vlm.data.datasets.public_questions.nlvr_v1 import NlvrV1
from x2vlm.data.io.image_decoding import decode_image
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.phrase_boxes import phrase_elements
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import RecordError
from x2vlm.data.streams import Stream
from x2vlm.data.tokenizer import bert_vocab
from x2vlm.data.transforms.answers import PickAnswers
from x2vlm.data.transforms.elements import box_inside
from x2vlm.data.transforms.images.load_crop_flip import LoadImage
from x2vlm.data.transforms.labels import PickLabel
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.sample_frames import SampleFrames
from x2vlm.data.transforms.texts.text_transforms import PickCaption


def refused(work, *reasons):
    with pytest.raises(RecordError, match="(.|\n)*".join(reasons)):
        work()


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    os.mkfifo(tmp_path / "a.tar")
    refused(lambda: decode_image(tmp_path / "a.png", "x:1"), r"^x:1: .*a\.png: is no regular file")
    refused(lambda: TarIndex(tmp_path / "a.tar").read("a.png", "x:1"), r"^x:1: .*is no regular file")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/stdin"])
def test_a_device_is_refused_also_where_annotations_may_name_any_file(write_lines, name):
    data = JsonLines(write_lines({"image": name, "caption": "a"}), image_root="/")
    refused(lambda: decode_image(data.record(0)["image"], "x:1"), "is no regular file|No such device|No such file")


def test_half_a_character_in_the_name_of_a_file_is_reported(write_lines, write_tar):
    data = JsonLines(write_lines({"image": "half\ud800.png", "caption": "a"}))
    refused(lambda: decode_image(data.record(0)["image"], "x:1"), "surrogates not allowed")
    refused(lambda: TarIndex(write_tar(("a", b""))).read("\ud800", "x:1"), r"no member can be called '\\ud800'")


def test_a_number_of_thousands_of_digits_breaks_its_line_only(write_lines):
    data = JsonLines(write_lines('{"image": "a.png", "caption": ' + "9" * 6000 + "}", {"image": "b", "caption": "b"}))
    refused(lambda: data.record(0), r"^train\.jsonl:1: broken JSON: .*4300 digits")
    assert data.record(1)["caption"] == "b"


def test_boxes_and_phrases_of_numbers_that_no_computer_holds_are_reported():
    with pytest.raises(ValueError, match="expected four numbers"):
        box_inside({"bb": [10**400, 0, 1, 1]}, 8, 8)
    refused(lambda: phrase_elements([{"text": "a", "ent": 1}], {1: {"boxes": [[10**400, 0, 1, 1]]}}, "x:1"), "^x:1")


@pytest.mark.parametrize("clips", [5, {"a": 1}, "ab"])
def test_clips_that_are_no_list_are_reported(write_lines, clips):
    data = JsonLines(write_lines({"clips": clips}))
    refused(lambda: data.record(0), r"^train\.jsonl:1: clips: expected a list of objects")


def test_a_record_without_video_among_videos_is_reported():
    refused(lambda: SampleFrames(2)({"where": "x:1", "image": b""}), "^x:1: there is no video")


EXAMPLE = {"images": ["a.png"], "sentence": "A circle .", "label": "true", "identifier": "1"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"identifier": None}, "identifier"),
        ({"images": [5]}, "expected the name of an image, got 5"),
        ({"images": "a" * 50_000}, "expected a list of up to 6 names"),
        ({"permutation": float("inf")}, "not an example of NLVR v1"),
        ({"structured_rep": [[]]}, "not an example of NLVR v1"),
    ],
)
def test_an_example_of_nlvr_that_is_none_is_reported(write_lines, write_tar, changes, reason):
    line = {key: value for key, value in (EXAMPLE | changes).items() if value is not None}
    data = NlvrV1(write_lines(line), write_tar(("a.png", b"")), ambiguous=False)
    assert len(data) == 1
    refused(lambda: data.record(0), r"^train\.jsonl:1: ", reason)


def test_broken_entries_of_a_coco_file_are_left_out_counted_and_named(tmp_path, monkeypatch):
    log = []
    monkeypatch.setattr("x2vlm.data.io.coco_file.print_log", lambda text, **options: log.append(text))
    images = [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}, {"id": 2}, None, {"id": [], "file_name": "b"}]
    whole = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}
    boxes = [whole, whole | {"bbox": [10**400, 0, 1, 1]}, whole | {"image_id": None}, whole | {"bbox": ["1"] * 4}, 7]
    tree = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "cat"}]}
    (tmp_path / "i.json").write_text(json.dumps(tree))
    data = Coco(tmp_path, instances_file=tmp_path / "i.json")
    assert data.dropped == {"broken entry of images": 3, "broken entry of annotations": 4}
    assert [len(data), len(data.record(0)["elems"])] == [1, 1]
    assert f"{tmp_path}/i.json: annotations[2] is left out: TypeError('its image_id is None')" in log


@pytest.mark.parametrize("answers", [["half \ud800"], [["red", float("nan")]], [["red", 10**400]], [["red", -1]]])
def test_answers_that_no_tokenizer_or_tensor_takes_are_reported(answers):
    refused(lambda: PickAnswers()({"where": "x:1", "texts": ["a"], "answers": answers}), "^x:1")


@pytest.mark.parametrize("label", [float("nan"), float("inf"), 2**70, -1, "9" * 5000])
def test_labels_that_are_no_class_are_reported(label):
    refused(lambda: PickLabel()({"where": "x:1", "label": label}), "^x:1: its label is .*; expected the number of")


def test_a_row_that_is_not_utf8_is_a_bad_record_among_good_ones(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"a dog\na c\xfft\na cat\n")
    data = Table(tmp_path / "a.tsv", dict(text=0), header=False)
    refused(lambda: data.record(1), r"^a\.tsv:2: not UTF-8")
    assert [data.record(i)["text"] for i in (0, 2)] == ["a dog", "a cat"]


def tar_of(path, *infos):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for info in infos:
            tar.addfile(info, io.BytesIO(bytes(info.size)))
    return path


def member(name, headers=None):
    info = tarfile.TarInfo(name)
    info.size, info.pax_headers = 4, headers or {}
    return info


def test_a_member_whose_header_is_larger_than_its_file_makes_no_room_for_it(tmp_path):
    raw = bytearray(tar_of(tmp_path / "a.tar", member("a")).read_bytes())
    raw[124:136] = b"77777777777\0"  # eight GiB
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    (tmp_path / "a.tar").write_bytes(raw)
    refused(
        lambda: TarIndex(tmp_path / "a.tar").read("a", "x:1"), r"ends inside the member 'a' \([\d,]+ of 8,589,934,591"
    )


@pytest.mark.parametrize(
    "headers",
    [
        {"path": "p" * 70_000},
        {"size": "-512"},
        {"size": "9" * 30},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "9"},
        {"GNU.sparse.map": "0,x"},
    ],
)
def test_an_extended_header_that_lies_ends_the_tar_and_is_reported(tmp_path, headers):
    index = TarIndex(tar_of(tmp_path / "a.tar", member("first"), member("second", headers)))
    assert index.problem.startswith("the tar ends early: ")
    assert index.read("first", "x:1") == bytes(4)
    assert max(map(len, index.names)) < 100


def test_a_sparse_map_without_end_is_not_read_for_ever(tmp_path):
    """Tarfile itself looks for the next line of the map behind the end of the file, again and again."""
    headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s", "GNU.sparse.realsize": "9"}
    path = tar_of(tmp_path / "a.tar", member("first"), member("second", headers))
    path.write_bytes(path.read_bytes()[: 512 * 5] + b"99999999\n" + b"1" * 503)
    start = time.monotonic()
    assert "ends" in TarIndex(path).problem
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("seed", range(40))
def test_members_of_any_tar_are_read_or_reported(tmp_path, seed):
    rng = random.Random(seed)
    (tmp_path / "a.tar").write_bytes(hostile.tar([(f"{i}.jpg", b"content") for i in range(5)], rng))
    index = TarIndex(tmp_path / "a.tar")
    for position in range(len(index)):
        try:
            assert len(index.read_at(position, "x:1")) == index.sizes[position]
        except RecordError as error:
            assert error.where == "x:1"


def test_signs_that_a_terminal_obeys_or_a_file_refuses_are_shown_as_such(tmp_path):
    bad = BadRecord("a\x1b[2J\n.jsonl:1", "half \ud800, \u202e turned, \x07" + "x" * 5000)
    log = BadRecordLog(tmp_path / "bad.jsonl", max_fraction=1)
    log.note("image", Batch(text_ids=None, text_mask=None, bad=[bad], drawn=1))
    line = json.loads((tmp_path / "bad.jsonl").read_text("utf-8"))
    assert line["where"] == r"a\x1b[2J\n.jsonl:1"
    assert line["reason"].startswith(r"half \ud800, \u202e turned, \x07x")
    assert len(line["reason"]) < 1100
    assert BadRecordLog(tmp_path / "bad.jsonl").counts["image"].reasons.keys() == {line["where"]}
    assert format_bad_records([bad]).isprintable()


def test_the_longest_line_can_be_set(write_lines):
    lines = write_lines({"image": "a.png", "caption": "short"}, {"image": "b.png", "caption": "long " * 50})
    data = JsonLines(lines, limits=dict(max_bytes=60))
    assert data.record(0)["caption"] == "short"
    refused(lambda: data.record(1), r"^train\.jsonl:2: is longer than the limit of 60 bytes \(limits\.max_bytes\)")
    lines.write_text("[" + ",".join(lines.read_text().splitlines()) + "]")
    refused(lambda: JsonLines(lines, limits=dict(max_bytes=60)).record(1), r"^train\.jsonl\[1\]: is longer than")


def test_the_largest_member_of_a_tar_can_be_set(write_tar, write_lines):
    tar = write_tar(("a.jpg", bytes(100)), ("a.txt", b"a cat"))
    line = {"key": "a", "shard": tar.name, "member": "a.jpg", "captions": ["a cat"]}
    few = dict(max_bytes=99)
    reason = r"the member 'a\.jpg' has 100 bytes, over the limit of 99 bytes \(limits\.max_bytes\)"
    refused(lambda: WebDataset(tar, limits=few).record(0), reason)
    refused(lambda: TarShards(write_lines(line), limits=few).record(0), reason)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"caption": "long " * 20}, r"caption: a text of 100 characters, over 50 \(limits\.max_chars\)"),
        ({"elems": [{"caption": "long " * 20}]}, r"elems: a text of 100 characters"),
        ({"elems": [{}] * 9}, r"elems: 9 entries, over 8 \(limits\.max_elems\)"),
        ({"caption": ["a"] * 9}, r"caption: 9 entries"),
        ({"caption": dict.fromkeys("abcdefghi", "a")}, r"caption: 9 entries"),
    ],
)
def test_the_longest_text_and_the_most_elements_can_be_set(write_lines, line, reason):
    data = JsonLines(write_lines({"image": "a.png", **line}), limits=dict(max_chars=50, max_elems=8))
    refused(lambda: data[0], r"^train\.jsonl:1: ", reason)


def test_what_is_nested_so_deep_that_no_process_could_send_it_is_reported(write_lines):
    deep = "[" * 500 + "]" * 500
    data = PlainText(write_lines('{"text": "a", "x": ' + deep + "}"), "text")
    assert data[0]["text"] == "a"  # what is not read does not matter
    lines = write_lines('{"image": "a.png", "caption": "a", "x": ' + deep + "}")
    refused(lambda: JsonLines(lines, keys=dict(extras=("x",)))[0], "extras: nested deeper than 32 levels")


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (dict(max_char=5), r"limits has no option 'max_char'\. Did you mean 'max_chars'"),
        (dict(max_chars=0), r"limits: max_chars is 0; expected a whole number of 1 or more"),
        (dict(max_bytes="1M"), r"limits: max_bytes is '1M'; expected a whole number"),
    ],
)
def test_a_limit_that_is_none_is_reported(limits, reason):
    with pytest.raises(ValueError, match=reason):
        RecordLimits.of(limits)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_shard_that_is_deleted_under_a_stream_costs_its_own_records_until_they_are_too_many(
    write_tar, write_lines, png, workers
):
    tars = [write_tar(*((f"{i}.png", png()) for i in range(4)), name=f"{name}.tar") for name in "ab"]
    positions = [(tar.name, i) for tar in tars for i in range(4)]
    lines = [{"key": f"{tar}{i}", "shard": tar, "member": f"{i}.png", "captions": ["a"]} for tar, i in positions]
    data = TarShards(write_lines(*lines), pipeline=[LoadImage(), PickCaption(), PackSample()])
    stream = Stream("image", data, PairCollate(bert_vocab(["a"]), masking=None), batch_size=4, num_workers=workers)
    stream.start(0)
    log = BadRecordLog(max_fraction=0.2, min_records=20)
    log.note("image", next(stream))
    assert not log.counts["image"].bad
    tars[1].unlink()
    with pytest.raises(TooManyBadRecordsError, match=r"train\.jsonl:\d: .*b\.tar(?:: | \()No such file"):
        for _ in range(40):
            batch = next(stream)
            assert len(batch) == 4  # others take their place
            log.note("image", batch)
    assert {bad.partition(":")[2] for bad in log.counts["image"].reasons} <= set("5678")
    stream.stop()
