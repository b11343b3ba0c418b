"""SugarCrepe, ARO and VL-CheckList in exactly the layout of their own files."""

import json

import pytest

from x2vlm.data.datasets.public_questions.hard_negatives import HardNegatives
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.classification_transforms import CropToBox
from x2vlm.data.transforms.images.load_crop_flip import LoadImage

SUGARCREPE = {
    "0": {
        "filename": "000000544519.jpg",
        "caption": "A girl with a green shirt brushing her teeth with a blue toothbrush.",
        "negative_caption": "A girl with a blue shirt brushing her teeth with a green toothbrush.",
    }
}
ARO = [
    {
        "image_id": "2373554",
        "image_path": "000000544519.jpg",
        "bbox_x": 2,
        "bbox_y": 1,
        "bbox_w": 4,
        "bbox_h": 3,
        "true_caption": "the door is to the left of the shirt",
        "false_caption": "the shirt is to the left of the door",
        "relation_name": "to the left of",
    },
    {
        "image_path": "000000544519.jpg",
        "bbox_x": 0,
        "bbox_y": 0,
        "bbox_w": 400,
        "bbox_h": 3,
        "true_caption": "the paved road and the white house",
        "false_caption": "the white road and the paved house",
        "attributes": ["paved", "white"],
    },
]
VL_CHECKLIST = [["000000544519.jpg", {"POS": ["gold clock"], "NEG": ["black clock", "red clock"]}]]


@pytest.fixture
def made(tmp_path, png):
    (tmp_path / "000000544519.jpg").write_bytes(png(size=(10, 8)))

    def made(name, content, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return HardNegatives(path, image_root=tmp_path, **options)

    return made


def test_sugarcrepe_has_an_object_of_entries_and_its_file_is_the_category(made):
    record = made("swap_att.json", SUGARCREPE, layout="sugarcrepe").record(0)
    assert record["where"] == "swap_att.json[0]"
    assert record["caption"].startswith("A girl with a green shirt")
    assert record["negatives"] == [SUGARCREPE["0"]["negative_caption"]]
    assert record["extras"] == {"category": "swap_att"}


def test_aro_is_cropped_to_the_box_of_what_is_asked(made):
    data = made("visual_genome_relation.json", ARO, layout="aro", pipeline=[LoadImage(), CropToBox()])
    assert data[0]["frames"][0].shape == (3, 4, 3)
    assert data[1]["frames"][0].shape == (3, 10, 3)  # the image ends before the box
    assert [data.record(i)["extras"]["category"] for i in range(2)] == ["to the left of", "paved_white"]


def test_aros_orders_have_the_true_caption_first_and_several_wrong_ones(made):
    entry = {"image": "000000544519.jpg", "caption_options": ["a dog runs", "runs dog a", "dog a runs"]}
    record = made("coco_order.json", [entry], layout="aro").record(0)
    assert (record["caption"], record["negatives"]) == ("a dog runs", ["runs dog a", "dog a runs"])


def test_vl_checklist_counts_the_first_of_each_and_its_folder_is_the_category(made):
    record = made("data/Attribute/vg/color.json", VL_CHECKLIST, layout="vl_checklist").record(0)
    assert (record["caption"], record["negatives"]) == ("gold clock", ["black clock"])
    assert record["extras"] == {"category": "Attribute", "part": "color"}


def test_an_entry_of_another_layout_is_a_bad_record(made):
    with pytest.raises(RecordError, match=r"a\.json\[0\]: is not as sugarcrepe has it \(KeyError: 'filename'\)"):
        made("a.json", [{"image": "x"}], layout="sugarcrepe").record(0)


def test_a_box_outside_the_image_is_a_bad_record(made):
    entry = ARO[0] | {"bbox_x": 50}
    data = made("visual_genome_relation.json", [entry], layout="aro", pipeline=[LoadImage(), CropToBox()])
    with pytest.raises(RecordError, match="outside the image of 10x8"):
        data[0]


def test_an_unknown_layout_is_told_with_the_closest_one(made):
    with pytest.raises(ValueError, match=r"layout is 'sugarcrape'.*Did you mean 'sugarcrepe'"):
        made("a.json", [1], layout="sugarcrape")
