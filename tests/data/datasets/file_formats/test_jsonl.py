import base64
import json
import pickle

import pytest

from x2vlm.building import build
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage
from x2vlm.registry import DATASETS


def text64(data):
    return base64.b64encode(data).decode()


def test_a_path_is_resolved_from_the_folder_of_the_file_or_from_image_root(write_lines, tmp_path):
    ann = write_lines({"image": "a.png", "caption": "a cat"})
    (tmp_path / "photos").mkdir()
    assert JsonLines(ann).record(0)["image"] == tmp_path / "a.png"
    assert JsonLines(ann, image_root=tmp_path / "photos").record(0)["image"] == tmp_path / "photos" / "a.png"


def test_what_stands_under_binary_is_base64_and_what_stands_elsewhere_is_a_path(write_lines, tmp_path, png):
    ann = write_lines({"binary": text64(png()), "desc": "a cat"}, {"image": "a.png", "caption": "a cat"})
    data = JsonLines(ann)
    assert data.record(0)["image"] == png()
    assert data.record(1)["image"] == tmp_path / "a.png"


def test_the_format_of_images_can_be_named(write_lines, tmp_path, png):
    ann = write_lines({"image": text64(png()), "caption": "a cat"})
    assert JsonLines(ann, image_format="base64").record(0)["image"] == png()
    ann = write_lines({"binary": "a.png", "caption": "a cat"})
    assert JsonLines(ann, image_format="path").record(0)["image"] == tmp_path / "a.png"


def test_base64_with_line_breaks_is_read(write_lines, png):
    ann = write_lines({"binary": base64.encodebytes(png()).decode(), "caption": "a cat"})
    assert JsonLines(ann).record(0)["image"] == png()


@pytest.mark.parametrize(
    "caption", ["a cat", ["a cat", "a small cat"], {"en": "a cat", "de": ["eine Katze"]}], ids=["text", "list", "dict"]
)
def test_captions_come_in_three_shapes(write_lines, caption):
    assert JsonLines(write_lines({"image": "a.png", "caption": caption})).record(0)["caption"] == caption


def test_captions_of_several_keys_can_be_gathered_by_language(write_lines):
    ann = write_lines({"image": "a.png", "en": "a cat", "more": {"de": "eine Katze"}, "fr": None})
    data = JsonLines(ann, keys=dict(caption=dict(en="en", de="more.de", fr="fr")))
    assert data.record(0)["caption"] == {"en": "a cat", "de": "eine Katze"}


def test_elements_come_with_box_caption_attributes_and_kind(write_lines):
    elems = [{"bb": [1, 2, 3, 4], "caption": "cat", "attributes": ["small"]}]
    ann = write_lines({"image": "a.png", "elems": [*elems, {**elems[0], "kind": "region"}]})
    assert JsonLines(ann).record(0)["elems"][0] == elems[0]
    tagged = JsonLines(ann, kind="object").record(0)["elems"]
    assert [elem["kind"] for elem in tagged] == ["object", "region"]


def test_one_wrong_element_does_not_cost_the_others(write_lines):
    elems = [{"bb": [1, 2], "caption": "cat"}, {"bb": [0, 0, 4, 4], "caption": "dog"}]
    assert JsonLines(write_lines({"image": "a.png", "elems": elems})).record(0)["elems"] == elems


def test_a_list_of_images_is_a_list_of_frames_whatever_its_key(write_lines, tmp_path, png):
    ann = write_lines(
        {"frames": ["1.png", "2.png"], "caption": "a cat runs"},
        {"binary": [text64(png()), text64(png())], "caption": "a cat runs"},
    )
    data = JsonLines(ann)
    assert data.record(0)["video"] == [tmp_path / "1.png", tmp_path / "2.png"]
    assert data.record(1)["video"] == [png(), png()]


def test_a_string_under_the_video_key_is_a_video_file(write_lines, tmp_path):
    ann = write_lines({"video": "clips/a.mp4", "caption": "a cat runs"})
    assert JsonLines(ann).record(0)["video"] == tmp_path / "clips" / "a.mp4"


def test_neighbouring_clips_come_with_their_captions(write_lines, tmp_path):
    clips = [{"video": "a.mp4", "caption": "a cat"}, {"frames": ["1.png"], "caption": "[Music]"}]
    clips = JsonLines(write_lines({"clips": clips})).record(0)["clips"]
    assert clips == [
        {"video": tmp_path / "a.mp4", "caption": "a cat"},
        {"video": [tmp_path / "1.png"], "caption": "[Music]"},
    ]


def test_the_identity_is_the_id_or_the_path_or_the_place(write_lines, png):
    ann = write_lines(
        {"image": "a.png", "caption": "a cat", "image_id": 7},
        {"image": "a.png", "caption": "a cat"},
        {"binary": text64(png()), "caption": "a cat"},
    )
    data = JsonLines(ann)
    assert [data.record(i)["id"] for i in range(3)] == ["7", "a.png", "train.jsonl:3"]


def test_extras_are_passed_on_and_one_that_is_missing_is_a_bad_record(write_lines):
    ann = write_lines(
        {"image": "a.png", "caption": "a cat", "meta": {"split": "val"}}, {"image": "b.png", "caption": "b"}
    )
    data = JsonLines(ann, keys=dict(extras=["meta.split"]))
    assert data.record(0)["extras"] == {"meta.split": "val"}
    with pytest.raises(RecordError, match=r"^train\.jsonl:2: has no 'meta\.split'"):
        data.record(1)


def test_several_files_are_numbered_through_and_each_record_knows_its_line(write_lines):
    first = write_lines({"image": "a.png", "caption": "a"}, "", {"image": "b.png", "caption": "b"}, name="1.jsonl")
    write_lines({"image": "c.png", "caption": "c"}, name="2.jsonl")
    data = JsonLines(first.parent / "*.jsonl")
    assert [data.record(i)["where"] for i in range(len(data))] == ["1.jsonl:1", "1.jsonl:3", "2.jsonl:1"]


def test_files_of_one_name_are_distinguished_by_their_folders(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.jsonl").write_text('{"image": "x.png", "caption": "x"}\n')
    data = JsonLines([tmp_path / "a" / "train.jsonl", tmp_path / "b" / "train.jsonl"])
    assert data.record(1)["where"] == f"{tmp_path}/b/train.jsonl:1"
    assert data.record(1)["image"] == tmp_path / "b" / "x.png"


@pytest.mark.parametrize(
    "line", ["{'image': 1", '["a.png", "a cat"]', '{"image": "a.png", "caption": "a cat"', "[" * 9999]
)
def test_a_broken_line_is_named_and_its_neighbours_are_read(write_lines, line):
    good = {"image": "a.png", "caption": "a cat"}
    data = JsonLines(write_lines(good, line, good))
    with pytest.raises(RecordError, match=r"^train\.jsonl:2: (broken JSON|expected a JSON object)"):
        data.record(1)
    assert [data.record(i)["caption"] for i in (0, 2)] == ["a cat", "a cat"]


def test_a_line_that_is_not_utf8_is_a_bad_record(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"image": "a.png", "caption": "caf\xe9"}\n')
    with pytest.raises(RecordError, match=r"a\.jsonl:1: not UTF-8"):
        JsonLines(tmp_path / "a.jsonl").record(0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"caption": "a cat"}, "has no image and no video"),
        ({"image": "a.png"}, "has no text and no label"),
        ({"image": "a.png", "caption": []}, "has no text and no label"),
        ({"image": "a.png", "caption": 3}, "caption: expected a string"),
        ({"image": "a.png", "caption": ["a", 3]}, "caption: expected a string"),
        ({"image": "a.png", "elems": {"bb": 1}}, "elems: expected a list"),
        ({"image": "../a.png", "caption": "a cat"}, "lies outside the folder"),
        ({"binary": "photos/a.png!", "caption": "a cat"}, "expected base64"),
        ({"binary": 3, "caption": "a cat"}, "expected base64"),
        ({"clips": [{"image": "a.png"}]}, r"clips\[0\].*expected an object with a video"),
    ],
)
def test_what_is_wrong_with_a_record_is_reported(write_lines, line, reason):
    with pytest.raises(RecordError, match=rf"^train\.jsonl:1.*{reason}"):
        JsonLines(write_lines(line)).record(0)


def test_a_broken_image_among_good_ones_is_named_by_its_line(write_lines, tmp_path, png):
    (tmp_path / "good.png").write_bytes(png())
    (tmp_path / "broken.png").write_bytes(png()[:40])
    ann = write_lines(*({"image": f"{name}.png", "caption": "a cat"} for name in ("good", "broken", "gone", "good")))
    data = JsonLines(ann, pipeline=[LoadImage()])
    assert data[0]["frames"][0].shape == (8, 8, 3)
    for index, reason in ((1, "broken.png"), (2, "gone.png: No such file")):
        with pytest.raises(RecordError, match=rf"^train\.jsonl:{index + 1}: .*{reason}"):
            data[index]
    assert data[3]["frames"][0].shape == (8, 8, 3)


def test_a_missing_file_and_a_missing_folder_are_reported_when_the_adapter_is_made(write_lines):
    with pytest.raises(FileNotFoundError, match=r"dataset: ann_file: gone\.jsonl does not exist"):
        build(DATASETS, dict(type="JsonLines", ann_file="gone.jsonl"), path="dataset")
    with pytest.raises(FileNotFoundError, match="image_root: gone does not exist"):
        JsonLines(write_lines({}), image_root="gone")


def test_a_json_array_is_read_like_lines_whatever_its_layout(tmp_path):
    lines = [
        {"image": f"{n}.png", "caption": text, "image_id": n} for n, text in enumerate(("ä 犬 [", 'a "]" }', "c,\\"))
    ]
    (tmp_path / "flat.json").write_text(json.dumps(lines), encoding="utf-8")
    (tmp_path / "tall.json").write_text("\ufeff\n" + json.dumps(lines, indent=2, ensure_ascii=False), encoding="utf-8")
    for name in ("flat.json", "tall.json"):
        data = JsonLines(tmp_path / name)
        assert [data[n]["caption"] for n in range(len(data))] == [line["caption"] for line in lines]
        assert [data[n]["where"] for n in range(3)] == [f"{name}[{n}]" for n in range(3)]
        assert data[1]["image"] == tmp_path / "1.png" and data[1]["id"] == "1"


def test_arrays_and_lines_can_be_mixed(tmp_path, write_lines):
    write_lines({"image": "a.png", "caption": "a"}, name="a.jsonl")
    (tmp_path / "b.json").write_text('[{"image": "b.png", "caption": "b"}, 7]')
    data = JsonLines([tmp_path / "b.json", tmp_path / "a.jsonl"])
    assert (data[0]["caption"], data[2]["caption"], data[2]["where"]) == ("b", "a", "a.jsonl:1")
    with pytest.raises(RecordError, match=r"b\.json\[1\]: expected a JSON object"):
        data[1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ('[{"image": "a.png"}, {"ima', "breaks after 1 entries"),
        ('[{"image": "a.png"} {"image": "b.png"}]', "breaks after 1 entries: expected ',' or ']'"),
        ('[{"image": "a.png"}], 3', "breaks after 1 entries"),
        ("[{}", "breaks after 1 entries"),
        ("[ ]", "holds an empty JSON array"),
    ],
)
def test_a_broken_array_is_reported(tmp_path, content, reason):
    (tmp_path / "train.json").write_text(content)
    with pytest.raises(ValueError, match=reason):
        JsonLines(tmp_path / "train.json")


def test_an_empty_file_is_reported(write_lines):
    with pytest.raises(ValueError, match="is empty"):
        JsonLines(write_lines())


@pytest.mark.parametrize("options", [dict(image_format="png"), dict(kind="thing"), dict(keys=dict(captions="x"))])
def test_a_wrong_option_is_reported(write_lines, options):
    with pytest.raises(ValueError, match=r"expected|Did you mean 'caption'"):
        JsonLines(write_lines({}), **options)


def test_a_subset_leaves_out_the_images_of_a_test_set(write_lines, tmp_path):
    ann = write_lines(*({"image": f"{name}.png", "caption": name} for name in "abcd"), "{broken")
    (tmp_path / "test_ids.txt").write_text("b.png\n")
    data = JsonLines(ann, subset=dict(exclude_ids=tmp_path / "test_ids.txt"))
    assert [data.record(i)["caption"] for i in range(3)] == ["a", "c", "d"]
    assert len(data) == 4  # the broken line is still there, to be reported


def test_an_adapter_can_be_sent_to_another_process(write_lines):
    data = JsonLines(write_lines({"image": "a.png", "caption": "a cat"}), pipeline=[LoadImage()])
    assert pickle.loads(pickle.dumps(data)).record(0) == data.record(0)


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n", "\r\n\r\n"])
def test_lines_are_found_whatever_their_end(tmp_path, end):
    separator = "\r\n" if "\r" in end else "\n"
    (tmp_path / "a.txt").write_bytes(
        ("\ufeffone" + separator + "zwölf" + separator + separator + "three" + end).encode()
    )
    lines = LineIndex([tmp_path / "a.txt"])
    assert [lines.text(i) for i in range(len(lines))] == ["one", "zwölf", "three"]
    assert [lines.where(i) for i in range(len(lines))] == ["a.txt:1", "a.txt:2", "a.txt:4"]


def test_lines_are_found_across_the_borders_of_chunks(tmp_path, monkeypatch):
    words = ["a" * n for n in (1, 2, 3, 4, 5, 7, 1)]
    (tmp_path / "a.txt").write_text("\n".join(words) + "\n")
    for chunk in (1, 2, 3, 5, 100):
        monkeypatch.setattr("x2vlm.data.io.line_index._CHUNK", chunk)
        lines = LineIndex([tmp_path / "a.txt"])
        assert [lines.text(i) for i in range(len(lines))] == words


def test_real_captions_are_read_with_other_keys(shared):
    file = shared / "data" / "real_captions" / "flickr8k" / "flickr8k_val.jsonl"
    data = JsonLines(file, keys=dict(image="member", caption=dict(en="captions", zh="captions_zh"), id="key"))
    assert len(data) == 557
    assert all(len(data.record(i)["caption"]["zh"]) == 5 for i in range(557))


def test_captions_of_one_picture_are_one_identity_though_each_has_an_id(write_lines):
    lines = [{"id": 100 + n, "image_id": n // 5, "image": f"{n // 5}.png", "caption": "a dog"} for n in range(20)]
    data = JsonLines(write_lines(*lines))
    assert len({data.record(n)["id"] for n in range(20)}) == 4


def test_one_file_under_several_identities_is_told(write_lines, monkeypatch):
    said = []
    monkeypatch.setattr("x2vlm.data.datasets.file_formats.jsonl.print_log", lambda text, **_: said.append(text))
    file = write_lines(*({"id": n, "image": f"{n // 5}.png", "caption": "a dog"} for n in range(20)))
    JsonLines(file, keys=dict(id=None))
    assert said == []
    JsonLines(file)
    assert [text[:80] for text in said] == [
        "train.jsonl:2: 0.png is shown under the identities '0' and '1'. Records that sho"
    ]


def test_a_line_of_blanks_is_no_record(write_lines):
    line = {"image": "a.png", "caption": "a dog"}
    data = JsonLines(write_lines(line, "   ", "\t \r", " " + json.dumps(line)))
    assert [data.record(n)["where"] for n in range(len(data))] == ["train.jsonl:1", "train.jsonl:4"]


def test_frames_in_base64_are_read_under_any_key_and_a_reason_is_cut_to_a_line(write_lines, png):
    frames = [text64(png()), text64(png())]
    data = JsonLines(write_lines({"video": frames, "caption": "a dog"}, {"video": ["A?" * 5000], "caption": "x"}))
    assert data.record(0)["video"] == [png(), png()]
    outside = JsonLines(write_lines({"image": "../" + "a?" * 5000, "caption": "x"}))
    with pytest.raises(RecordError) as told:
        outside.record(0)
    assert len(str(told.value)) < 700


@pytest.mark.parametrize("indent", [1, 4])
def test_one_object_over_several_lines_is_told_for_what_it_is(tmp_path, indent):
    tree = {"images": [{"image": "a.png", "caption": "a dog"}]}
    (tmp_path / "a.json").write_text(json.dumps(tree, indent=indent))
    with pytest.raises(ValueError, match=r"a\.json is one JSON object over several lines"):
        JsonLines(tmp_path / "a.json")


def test_the_objects_of_a_public_file_on_one_line_are_told_for_what_they_are(write_lines):
    data = JsonLines(write_lines({"images": [{"id": 9, "file_name": "9.jpg"}], "annotations": []}))
    with pytest.raises(RecordError, match=r"images: expected names of images, got \{'id': 9.* an adapter of its own"):
        data.record(0)


def test_a_number_written_as_a_float_names_a_file_and_what_is_no_name_is_shown(write_lines):
    lines = [{"image": one, "caption": "x"} for one in (9.0, 9.5, True, {"path": "9.jpg"})]
    data = JsonLines(write_lines(*lines), file_pattern="{:04d}.jpg")
    assert data.record(0)["image"].name == "0009.jpg"
    for number, shown in ((1, "9.5"), (2, "True"), (3, r"\{'path': '9.jpg'\}")):
        with pytest.raises(RecordError, match=rf"train\.jsonl:{number + 1}: expected the name of a file, got {shown}"):
            data.record(number)


def test_a_record_with_one_picture_of_two_is_a_bad_one(write_lines):
    data = JsonLines(write_lines({"images": ["a.png"], "caption": "both"}), num_images=2)
    with pytest.raises(RecordError, match=r"shows 1 images together; expected 2 \(num_images\)"):
        data.record(0)


def test_the_seconds_of_a_video_that_are_meant_go_with_it(write_lines):
    lines = [{"video": "a.mp4", "caption": "x", "start": 1.5, "end": 4}, {"video": "a.mp4", "caption": "x", "start": 2}]
    data = JsonLines(write_lines(*lines, {"video": "a.mp4", "caption": "x", "start": 5, "end": 4}))
    assert data.record(0)["segment"] == (1.5, 4)
    assert data.record(1)["segment"] == (2, float("inf"))
    with pytest.raises(RecordError, match=r"train\.jsonl:3: start and end: expected seconds, the first smaller"):
        data.record(2)
