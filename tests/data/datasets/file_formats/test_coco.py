import json
import pickle

import numpy as np
import pytest

from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.regions import PickPhrases

IMAGES = [
    {"id": 10, "file_name": "ten.png", "width": 8, "height": 8},
    {"id": 11, "file_name": "eleven.png", "width": 8, "height": 8, "has_boxes": False},
    {"id": 12, "file_name": "twelve.png", "width": 8, "height": 8},
    {"id": 13, "file_name": "../thirteen.png", "width": 8, "height": 8},
]
CAPTIONS = [
    {"id": 1, "image_id": 10, "caption": "A cat."},
    {"id": 2, "image_id": 10, "caption": "A small cat."},
    {"id": 3, "image_id": 11, "caption": "A dog."},
    {"id": 4, "image_id": 13, "caption": "A bird."},
]
CATEGORIES = [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}]


def box(image, bbox, category=17, **more):
    return {"image_id": image, "category_id": category, "bbox": bbox, **more}


BOXES = [
    box(10, [1, 2, 3, 4]),
    box(10, [0, 0, 8, 8], iscrowd=1),
    box(10, [5, 5, 0, 2]),
    box(12, [4, 0, 4.01, 2], category=18),
]


@pytest.fixture
def files(tmp_path):
    def write(boxes=BOXES):
        numbered = [{"id": i, **entry} for i, entry in enumerate(boxes, 1)]
        captions = {"images": IMAGES[:2] + IMAGES[3:], "annotations": CAPTIONS}
        instances = {"images": IMAGES, "annotations": numbered, "categories": CATEGORIES}
        (tmp_path / "captions.json").write_text(json.dumps(captions))
        (tmp_path / "instances.json").write_text(json.dumps(instances))
        return dict(captions_file=tmp_path / "captions.json", instances_file=tmp_path / "instances.json")

    return write


def test_captions_and_boxes_of_an_image_come_together(files, tmp_path):
    data = Coco(tmp_path, **files())
    assert data.record(0) == {
        "where": "captions.json:image 10",
        "id": "10",
        "image": tmp_path / "ten.png",
        "caption": ["A cat.", "A small cat."],
        "elems": [{"bb": (1, 2, 3, 4), "caption": "cat", "kind": "object"}],
        "stated_size": (8, 8),
        "extras": {},
    }


def test_crowds_and_boxes_without_area_are_dropped_and_counted(files, tmp_path):
    assert Coco(tmp_path, **files()).dropped == {"iscrowd": 1, "outside its image": 1}


def test_an_image_without_annotated_boxes_is_not_taken_for_an_empty_one(files, tmp_path):
    data = Coco(tmp_path, **files())
    assert "elems" not in data.record(1)
    marked = Coco(tmp_path, **files([box(11, [0, 0, 2, 2]), *BOXES]))
    assert marked.dropped["image without boxes"] == 1


def test_a_box_that_reaches_out_is_cut_to_its_image(files, tmp_path):
    elem = Coco(tmp_path, instances_file=files()["instances_file"]).record(1)["elems"][0]
    assert (elem["bb"], elem["caption"]) == ((4, 0, 4, 2), "dog")


@pytest.mark.parametrize(
    ("require", "ids"),
    [
        ((), ["10", "11", "13", "12"]),
        (("captions",), ["10", "11", "13"]),
        (("boxes",), ["10", "12"]),
        (("captions", "boxes"), ["10"]),
    ],
)
def test_what_an_image_must_have_can_be_set(files, tmp_path, require, ids):
    data = Coco(tmp_path, **files(), require=require)
    assert [str(image) for image in data.ids] == ids


def test_boxes_alone_make_records_of_the_images_that_have_some(files, tmp_path):
    data = Coco(tmp_path, instances_file=files()["instances_file"])
    assert [data.record(i)["id"] for i in range(len(data))] == ["10", "12"]
    assert "caption" not in data.record(0)


def test_a_subset_leaves_out_identities(files, tmp_path):
    data = Coco(tmp_path, **files(), subset=dict(exclude_ids=["10"], stop=2))
    assert data.ids == [11]


def test_a_file_name_that_leads_out_is_a_bad_record(files, tmp_path):
    with pytest.raises(RecordError, match=r"^captions\.json:image 13: .*lies outside"):
        Coco(tmp_path, **files()).record(2)


def test_nothing_is_printed_and_the_adapter_can_be_sent_to_another_process(files, tmp_path, capsys):
    data = Coco(tmp_path, captions_file=files()["captions_file"])
    assert capsys.readouterr().out == ""
    assert pickle.loads(pickle.dumps(data)).record(0) == data.record(0)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "no COCO annotation file"),
        ("[]", "no COCO annotation file"),
        ('{"images": []}', "lacks annotations"),
        (
            '{"images": [], "annotations": [{"id": 1, "image_id": 1, "bbox": []}]}',
            r"none of its 1 annotations can be used: the first one: KeyError\('caption'\)",
        ),
    ],
)
def test_a_file_of_another_kind_is_reported(tmp_path, text, reason):
    (tmp_path / "captions.json").write_text(text)
    with pytest.raises(ValueError, match=rf"captions_file: .*captions\.json.*{reason}"):
        Coco(tmp_path, captions_file=tmp_path / "captions.json")


@pytest.mark.parametrize("require", ["boxes", ("box",)])
def test_a_wrong_requirement_is_reported(files, tmp_path, require):
    with pytest.raises(ValueError, match="require is"):
        Coco(tmp_path, **files(), require=require)


def test_no_file_or_a_missing_one_is_reported(tmp_path):
    with pytest.raises(ValueError, match="captions_file, instances_file or both"):
        Coco(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"instances_file: gone\.json"):
        Coco(tmp_path, instances_file="gone.json")


def test_the_real_images_have_their_captions_and_boxes(shared):
    folder = shared / "data" / "real_captions" / "coco"
    data = Coco(folder / "images", folder / "captions.json", folder / "instances.json")
    records = [data.record(i) for i in range(len(data))]
    assert len(records) == 312
    assert sum(len(record["caption"]) for record in records) == 1560
    assert sum("elems" in record for record in records) == 227
    assert sum(len(record.get("elems", ())) for record in records) == 1887 - data.dropped["iscrowd"]


def test_the_real_image_without_any_box_is_no_record_of_its_own(shared):
    folder = shared / "data" / "coco128"
    data = Coco(folder / "images", instances_file=folder / "instances.json")
    assert len(data) == 95
    assert sum(len(data.record(i)["elems"]) for i in range(len(data))) == 711


def test_boxes_with_attributes_keep_them_and_phrases_hand_them_to_metrics(files, tmp_path):
    boxes = [
        box(10, [0, 0, 8, 8], iscrowd=1, att_vec=[1, 1, 1]),
        box(10, [1, 2, 3, 4], att_vec=[1, 0, -1]),
        box(10, [0, 0, 2, 2]),
        box(12, [0, 0, 2, 2], category=18, att_vec=[0, 0, 1]),
    ]
    data = Coco(tmp_path, instances_file=files(boxes)["instances_file"])
    elems = [data.record(n)["elems"] for n in range(2)]
    assert [elem.get("extras") for elem in elems[0]] == [{"attributes": [1, 0, -1]}, None]
    assert elems[1][0]["extras"] == {"attributes": [0, 0, 1]}
    record = data.record(0) | {"frames": [np.zeros((8, 8, 3), np.uint8)]}
    picked = PickPhrases()(record)
    assert picked["texts"] == ["cat", "cat"] and picked["extras"]["attributes"] == [[1, 0, -1], None]


def test_one_image_id_twice_is_an_error_that_names_it(tmp_path):
    images = [{"id": 7, "file_name": "a.png"}, {"id": 7, "file_name": "b.png"}]
    (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": CAPTIONS[:1]}))
    with pytest.raises(ValueError, match=r"c\.json: the id 7 is there 2 times under images"):
        Coco(tmp_path, captions_file=tmp_path / "c.json")


def test_ids_as_text_in_one_file_and_numbers_in_another_do_not_meet(files, tmp_path):
    captions = {"images": [{"id": "10", "file_name": "a.png"}], "annotations": [{"image_id": "10", "caption": "cat"}]}
    (tmp_path / "c.json").write_text(json.dumps(captions))
    with pytest.raises(ValueError, match=r"do not meet: image ids are '10' in the first and 10 in the second"):
        Coco(tmp_path, tmp_path / "c.json", files()["instances_file"])


def test_ids_as_text_and_numbers_in_one_file_do_not_meet(tmp_path):
    captions = {"images": [{"id": "10", "file_name": "a.png"}], "annotations": [{"image_id": 10, "caption": "cat"}]}
    (tmp_path / "c.json").write_text(json.dumps(captions))
    with pytest.raises(ValueError, match=r"annotations do not meet its images: ids are '10' under images and 10"):
        Coco(tmp_path, tmp_path / "c.json")


def test_annotations_without_id_float_ids_and_shapes_without_box_are_read(files, tmp_path):
    mask = {"size": [8, 8], "counts": [8, 2, 54]}
    boxes = [
        {"image_id": 10.0, "category_id": 17.0, "bbox": [1, 2, 3, 4]},
        {"image_id": 10, "category_id": 17, "segmentation": [[0, 0, 4, 0, 4, 6]]},
        {"image_id": 12, "category_id": 18, "segmentation": mask},
    ]
    instances = {"images": IMAGES, "annotations": boxes, "categories": CATEGORIES}
    (tmp_path / "i.json").write_text(json.dumps(instances))
    data = Coco(tmp_path, instances_file=tmp_path / "i.json")
    assert [elem["bb"] for elem in data.record(0)["elems"]] == [(1, 2, 3, 4), (0, 0, 4, 6)]
    assert [elem["bb"] for elem in data.record(1)["elems"]] == [(1, 0, 1, 2)]
    assert not data.dropped
