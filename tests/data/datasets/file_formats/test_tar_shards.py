import json
import os
import pickle
import tarfile

import numpy as np
import pytest

from x2vlm.commands.make_vocab import vocabulary
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.datasets.file_formats.webdataset import WebDataset
from x2vlm.data.io.phrase_boxes import enclosing_box, phrase_elements
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import RecordError
from x2vlm.data.tokenizer import bert_vocab, tokenize
from x2vlm.data.transforms.images.load_crop_flip import LoadImage
from x2vlm.data.transforms.texts.text_cleaning import clean_caption
from x2vlm.data.transforms.texts.text_transforms import AllCaptions

ENTITIES = {
    "1": {"types": ["people"], "boxes": [[0, 0, 2, 2], [4, 1, 2, 4]]},
    "2": {"types": ["animals"], "boxes": [[1, 1, 3, 3]]},
    "3": {"types": ["scene"], "boxes": [], "flag": "scene"},
}
PHRASES = [
    {"cap": 0, "text": "Two men", "ent": "1"},
    {"cap": 0, "text": "a dog", "ent": "2"},
    {"cap": 1, "text": "A dog", "ent": "2"},
    {"cap": 1, "text": "the park", "ent": "3"},
    {"cap": 1, "text": "it", "ent": "0"},
]


def line(key, **more):
    return {"key": key, "shard": "shard.tar", "member": f"{key}.png", "captions": ["A dog .", "Two men"], **more}


@pytest.fixture
def index(write_lines, write_tar, png):
    write_tar(("a.png", png()), ("b.png", png((0, 0, 255))), ("broken.png", png()[:30]))
    return lambda *lines: write_lines(*(lines or [line("a", phrases=PHRASES, entities=ENTITIES), line("b")]))


def test_an_image_comes_from_its_tar_file_with_captions_and_phrases(index, png):
    record = TarShards(index()).record(0)
    assert record["image"] == png()
    assert (record["where"], record["id"], record["caption"]) == ("train.jsonl:1", "a", ["A dog .", "Two men"])
    assert [elem["caption"] for elem in record["elems"]] == ["Two men", "a dog", "A dog"]
    assert record["elems"][1] == {
        "bb": (1, 1, 3, 3),
        "caption": "a dog",
        "kind": "region",
        "entity": "2",
        "types": ["animals"],
    }


def test_a_line_without_phrases_has_no_elements(index):
    assert "elems" not in TarShards(index()).record(1)


@pytest.mark.parametrize(
    ("multi_box", "boxes"),
    [
        ("union", [(0, 0, 6, 5)]),
        ("first", [(0, 0, 2, 2)]),
        ("each", [(0, 0, 2, 2), (4, 1, 2, 4)]),
        ("skip", []),
    ],
)
def test_a_phrase_for_several_things_gets_the_box_it_is_configured_to_get(index, multi_box, boxes):
    elems = TarShards(index(), multi_box=multi_box).record(0)["elems"]
    assert [elem["bb"] for elem in elems if elem["caption"] == "Two men"] == boxes


def test_a_union_is_around_all_its_boxes():
    assert enclosing_box([(3, 4, 1, 1), (1, 6, 1, 4)]) == (1, 4, 3, 6)


def test_equal_phrases_for_one_thing_are_kept_once_if_requested(index):
    elems = TarShards(index(), unique_phrases=True).record(0)["elems"]
    assert [elem["caption"] for elem in elems] == ["Two men", "a dog"]


def test_captions_can_come_from_another_key_or_from_several_by_language(index):
    ann = index(line("a", captions_zh=["狗"], multi30k={"de": "Ein Hund"}))
    assert TarShards(ann, captions="captions_zh").record(0)["caption"] == ["狗"]
    assert TarShards(ann, captions="multi30k.de").record(0)["caption"] == "Ein Hund"
    both = TarShards(ann, captions=dict(en="captions", de="multi30k.de", fr="captions_fr")).record(0)["caption"]
    assert both == {"en": ["A dog .", "Two men"], "de": "Ein Hund"}


def test_records_without_caption_are_bad_or_left_out_from_the_start(index):
    ann = index(line("a", captions_de=[]), line("b", captions_de=["Ein Hund"]), "{broken")
    with pytest.raises(RecordError, match=r"^train\.jsonl:1: no caption under 'captions_de'"):
        TarShards(ann, captions="captions_de").record(0)
    data = TarShards(ann, captions="captions_de", drop_uncaptioned=True)
    assert len(data) == 2  # the broken line is still there, to be reported
    assert data.record(0)["id"] == "b"


def test_captions_that_no_record_has_are_reported_at_the_start(index):
    with pytest.raises(ValueError, match=r"captions='captions_xx': none of 2 records"):
        TarShards(index(), captions="captions_xx", drop_uncaptioned=True)


def test_a_broken_image_and_a_missing_one_are_named_among_good_ones(index):
    data = TarShards(index(line("a"), line("broken"), line("gone"), line("b")), pipeline=[LoadImage()])
    for number, reason in ((1, "cannot be decoded|broken"), (2, r"no member 'gone\.png' in .*which has 3 members")):
        with pytest.raises(RecordError, match=rf"^train\.jsonl:{number + 1}: .*({reason})"):
            data[number]
    assert [data[i]["id"] for i in (0, 3)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"shard": "gone.tar"}, r"gone\.tar \(No such file"),
        ({"shard": "../shard.tar"}, "lies outside"),
        ({"shard": "train.jsonl"}, "not a plain tar"),
        ({"shard": None}, "needs 'shard' and 'member'"),
        ({"captions": "a", "phrases": [{"text": "a dog"}]}, "phrases or entities of an unknown shape"),
        ({"phrases": PHRASES, "entities": {"1": {"boxes": [[1, 2]]}}}, "phrases or entities of an unknown shape"),
    ],
)
def test_what_is_wrong_with_a_record_is_reported(index, changes, reason):
    with pytest.raises(RecordError, match=rf"^train\.jsonl:1: .*{reason}"):
        TarShards(index(line("a", **changes))).record(0)


def test_a_wrong_way_with_several_boxes_is_reported(index):
    with pytest.raises(ValueError, match="multi_box is 'all'; expected one of union, first, each, skip"):
        TarShards(index(), multi_box="all")


def test_subsets_and_other_processes(index):
    data = TarShards(index(), subset=dict(exclude_ids=["a"]))
    assert data.record(0)["id"] == "b"
    assert pickle.loads(pickle.dumps(data)).record(0) == data.record(0)


def test_tar_files_may_lie_elsewhere(index, tmp_path):
    ann = index()
    (tmp_path / "tars").mkdir()
    (tmp_path / "shard.tar").rename(tmp_path / "tars" / "shard.tar")
    assert TarShards(ann, shard_root=tmp_path / "tars").record(0)["id"] == "a"


def test_members_are_found_by_name_and_by_place(write_tar):
    tar = TarIndex(write_tar(("b/x", b"1"), ("a", b"22"), ("c" * 150, b"333"), ("ä", b"4")))
    assert [tar.name(i) for i in range(4)] == ["b/x", "a", "c" * 150, "ä"]
    assert [tar.read(tar.name(i), "w") for i in range(4)] == [b"1", b"22", b"333", b"4"]
    assert tar.read_at(1, "w") == b"22"


def test_the_last_of_members_with_one_name_counts_and_folders_do_not(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, data in (("x", b"old"), ("y", b""), ("x", b"new")):
            (tmp_path / "file").write_bytes(data)
            tar.add(tmp_path / "file", arcname=name)
        tar.add(tmp_path, arcname="folder", recursive=False)
    index = TarIndex(tmp_path / "a.tar")
    assert len(index) == 3
    assert index.read("x", "w") == b"new"
    assert index.read("y", "w") == b""


@pytest.mark.parametrize("name", ["", "a.pn", "a.png\0", "zzz"])
def test_a_member_that_is_not_there_is_reported(write_tar, name):
    with pytest.raises(RecordError, match="no member"):
        TarIndex(write_tar(("a.png", b"1"), ("b.png", b"2"))).read(name, "w")


def cut_short(path, size):
    os.truncate(path, size)
    return path


def test_a_tar_that_is_cut_short_gives_what_is_there_and_names_what_is_not(write_tar):
    path = cut_short(write_tar(("a", b"1" * 600), ("b", b"2" * 600), ("c", b"3" * 600)), 512 + 1024 + 512 + 100)
    index = TarIndex(path)
    assert index.read("a", "w") == b"1" * 600
    with pytest.raises(RecordError, match=r"^w: .*ends inside the member 'b' \(100 of 600 bytes\)"):
        index.read("b", "w")
    with pytest.raises(RecordError, match=r"^w: no member 'c' in .* \(the tar ends early"):
        index.read("c", "w")


def test_a_tar_that_vanishes_is_a_bad_record(write_tar):
    path = write_tar(("a", b"1"))
    index = TarIndex(path)
    path.unlink()
    with pytest.raises(RecordError, match="No such file"):
        index.read("a", "w")


def test_an_index_is_kept_only_if_requested_and_made_anew_when_the_tar_changes(write_tar, tmp_path):
    path = write_tar(("a", b"1"))
    TarIndex(path)
    assert not (tmp_path / "kept").exists()
    for _ in range(2):
        assert TarIndex(path, tmp_path / "kept").read("a", "w") == b"1"
    assert len(list((tmp_path / "kept").iterdir())) == 1
    write_tar(("a", b"1"), ("b", b"2"))
    assert TarIndex(path, tmp_path / "kept").read("b", "w") == b"2"


def test_a_kept_index_is_really_used_and_a_damaged_one_is_not(write_tar, tmp_path, monkeypatch):
    path = write_tar(("a", b"1"))
    TarIndex(path, tmp_path / "kept")
    with monkeypatch.context() as patch:
        patch.setattr("x2vlm.data.io.tar_index._scan", None)
        assert TarIndex(path, tmp_path / "kept").read("a", "w") == b"1"
    next((tmp_path / "kept").iterdir()).write_bytes(b"PK damaged")
    assert TarIndex(path, tmp_path / "kept").read("a", "w") == b"1"


def members(key, png, **meta):
    return [(f"{key}.jpg", png), (f"{key}.txt", b" A dog .\n"), (f"{key}.json", json.dumps(meta).encode())]


def test_neighbouring_members_with_one_key_are_one_record(write_tar, png):
    write_tar(*members("x/1", png()), *members("x/2", png()), name="s-0.tar")
    data = WebDataset(write_tar(*members("3", png()), name="s-1.tar").parent / "s-*.tar")
    assert [data.record(i)["id"] for i in range(len(data))] == ["x/1", "x/2", "3"]
    expected = {"where": "s-1.tar:3", "id": "3", "image": png(), "caption": "A dog .", "extras": {}}
    assert data.record(2) == expected


def test_captions_and_elements_can_come_from_the_json_member(write_tar, png):
    elems = [{"bb": [0, 0, 2, 2], "caption": "dog"}]
    path = write_tar(*members("1", png(), captions=["a", "b"], elems=elems))
    record = WebDataset(path, captions="json.captions", elems="json.elems").record(0)
    assert (record["caption"], record["elems"]) == (["a", "b"], elems)
    languages = WebDataset(path, captions=dict(en="txt", x="json.captions")).record(0)["caption"]
    assert languages == {"en": "A dog .", "x": ["a", "b"]}


def test_a_video_member_is_the_video(write_tar):
    data = WebDataset(write_tar(("1.mp4", b"video"), ("1.txt", b"a dog")))
    assert data.record(0)["video"] == b"video"


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        ([("1.txt", b"a dog")], "no image and no video, only members"),
        ([("1.jpg", b"x")], "no caption under 'txt'"),
        ([("1.jpg", b"x"), ("1.txt", b"\xff")], r"member \.txt: "),
        ([("1.jpg", b"x"), ("1.txt", b"a"), ("1.json", b"{")], r"member \.json: "),
    ],
)
def test_what_is_wrong_with_a_group_is_reported(write_tar, group, reason):
    with pytest.raises(RecordError, match=rf"^shard\.tar:1: {reason}"):
        WebDataset(write_tar(*group)).record(0)


def test_a_shard_that_is_cut_short_gives_its_records_and_names_the_last(write_tar):
    path = cut_short(write_tar(("1.txt", b"a"), ("1.jpg", b"x"), ("2.txt", b"b"), ("2.jpg", b"y" * 600)), 3700)
    data = WebDataset(path)
    assert data.record(0)["caption"] == "a"
    with pytest.raises(RecordError, match=r"^shard\.tar:2: .*ends inside the member '2\.jpg'"):
        data.record(1)


def test_shards_without_a_record_are_reported(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not a tar file" * 100)
    with pytest.raises(ValueError, match=r"shards hold no record: .*a\.tar: not a plain tar"):
        WebDataset(tmp_path / "a.tar")


def test_webdataset_keeps_its_index_and_takes_subsets(write_tar, png, tmp_path):
    path = write_tar(*members("1", png()), *members("2", png()), *members("3", png()))
    data = WebDataset(path, index_dir=tmp_path / "kept", subset=dict(exclude_ids=["2"]))
    assert [data.record(i)["id"] for i in range(len(data))] == ["1", "3"]
    assert list((tmp_path / "kept").iterdir())
    assert pickle.loads(pickle.dumps(data)).record(1) == data.record(1)


def test_a_phrase_of_an_entity_without_box_is_no_element():
    assert phrase_elements([{"text": "the park", "ent": "3"}], ENTITIES, "w") == []


def test_the_real_photographs_have_their_captions_and_phrases(shared):
    data = TarShards(shared / "data" / "real_captions" / "flickr8k" / "flickr8k_val.jsonl")
    records = [data.record(i) for i in range(len(data))]
    assert len(records) == 557
    assert sum(len(record["caption"]) for record in records) == 2785
    boxes = np.array([elem["bb"] for record in records for elem in record["elems"]])
    assert len(boxes) == 7298
    assert boxes[:, :2].min() >= 0
    assert (boxes[:, :2] + boxes[:, 2:]).max() <= 224 + 1e-6
    assert LoadImage()(records[-1])["frames"][0].shape == (224, 224, 3)


def test_the_real_german_captions_are_those_of_the_photographs_that_have_some(shared):
    ann = shared / "data" / "real_captions" / "flickr8k" / "flickr8k_val.jsonl"
    data = TarShards(ann, captions=dict(de="multi30k.de", en="multi30k.en"), drop_uncaptioned=True)
    assert len(data) == 525


def test_the_real_webdataset_shard_has_its_photographs(shared):
    data = WebDataset(shared / "data" / "real_captions" / "wds_sample-*.tar", captions="json.captions")
    records = [data.record(i) for i in range(len(data))]
    assert len(records) == 64
    assert all(len(record["caption"]) == 5 for record in records)
    assert LoadImage()(records[0])["frames"][0].shape == (224, 224, 3)


def test_the_real_captions_of_three_languages_are_words_of_one_vocabulary(shared):
    ann = shared / "data" / "real_captions" / "flickr8k" / "flickr8k_val.jsonl"
    captions = dict(en="captions", de="captions_de", zh="captions_zh")
    rows = [json.loads(line) for line in ann.read_text("utf-8").splitlines()[:60]]
    texts = [clean_caption(text) for row in rows for key in captions.values() for text in row[key]]
    tokenizer = bert_vocab(vocabulary(texts, 6000))
    data = TarShards(ann, captions=captions, subset=dict(stop=60))
    for language in captions:
        captions_of_all = [AllCaptions(language)(data[n])["texts"] for n in range(60) if language in data[n]["caption"]]
        pieces = tokenize(tokenizer, [text for texts in captions_of_all for text in texts], 40)
        assert len(captions_of_all) > 50 and not any(tokenizer.unk_token_id in row for row in pieces)
    assert tokenizer.tokenize("一个男孩") == ["一", "个", "男", "孩"]


def test_a_tar_that_was_cut_between_two_records_has_a_bad_record_for_what_is_lost(write_tar, png, tmp_path):
    from x2vlm.data.datasets.file_formats.webdataset import WebDataset

    members = [(f"{key}.{end}", data) for key in "ab" for end, data in (("png", png()), ("txt", b"a dog"))]
    whole = write_tar(*members)
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[: 2 * 1024])  # two members of two blocks each
    data = WebDataset(tmp_path / "cut.tar")
    assert (len(data), data.record(0)["id"]) == (2, "a")
    with pytest.raises(RecordError, match=r"^cut\.tar:member 2: .*byte 2,048 the empty blocks that close it.*lost"):
        data.record(1)


@pytest.mark.parametrize("cut", [200, 512 + 30])
def test_a_tar_that_ends_early_has_a_bad_record_for_what_is_lost(write_tar, png, tmp_path, cut):
    from x2vlm.data.datasets.file_formats.webdataset import WebDataset

    members = [(f"{key}.{end}", data) for key in "ab" for end, data in (("png", png()), ("txt", b"a dog"))]
    whole = write_tar(*members)
    assert len(WebDataset(whole)) == 2
    (tmp_path / "cut.tar").write_bytes(whole.read_bytes()[: 2 * 1024 + cut])  # two members of two blocks each
    data = WebDataset(tmp_path / "cut.tar")
    assert data.record(0)["id"] == "a"
    with pytest.raises(RecordError, match=r"cut\.tar"):
        [data.record(n) for n in range(1, len(data))]
    if cut < 512:
        assert len(data) == 2
        with pytest.raises(RecordError, match=r"^cut\.tar:member 2: .*ends early.*lost"):
            data.record(1)
