import json

import pytest

from x2vlm.data.datasets.file_formats.coco import Coco
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.io.box_rules import fitting_convention, polygon_box, xywh_inside
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.images.load_crop_flip import LoadImage
from x2vlm.data.transforms.regions import PickPhrases


@pytest.mark.parametrize(
    ("box", "cut"),
    [
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ((-3, -2, 9, 8), (0, 0, 6, 6)),
        ((90, 40, 13, 13), (90, 40, 10, 10)),
        ((0, 0, 100.01, 50), (0, 0, 100, 50)),
    ],
)
def test_a_small_overhang_is_cut(box, cut):
    assert xywh_inside(box, 100, 50) == cut


@pytest.mark.parametrize("box", [(-3.1, 0, 9, 9), (90, 0, 14, 9), (0, 45, 9, 9), (float("nan"), 0, 2, 9)])
def test_a_large_overhang_is_none(box):
    with pytest.raises(ValueError, match="not inside the 100x50 image"):
        xywh_inside(box, 100, 50)


@pytest.mark.parametrize("box", [(5, 5, 0.4, 9), (5, 5, 9, 0.99), (99.5, 5, 2, 9)])
def test_a_box_without_a_pixel_of_its_own_is_none(box):
    with pytest.raises(ValueError, match="smaller than a pixel"):
        xywh_inside(box, 100, 50)


@pytest.mark.parametrize(
    ("boxes", "name"),
    [
        ([(60, 20, 90, 45), (10, 10, 20, 20)], "x0, y0, x1, y1 in pixels"),
        ([(0.6, 0.4, 0.3, 0.5), (0.1, 0.1, 0.5, 0.5)], "x, y, w, h from 0 to 1"),
        ([(0.6, 0.4, 0.9, 0.9)], "x0, y0, x1, y1 from 0 to 1"),
        ([(0.1, 0.1, 0.2, 0.2)] * 30 + [(0.8, 0.9, 0.3, 0.2)], "center x, center y, w, h from 0 to 1"),
        ([(0.1, 0.1, 0.2, 0.3)] * 30 + [(0.6, 0.6, 0.9, 0.9)], "x0, y0, x1, y1 from 0 to 1"),
    ],
)
def test_the_convention_that_fits_is_named(boxes, name):
    assert name in fitting_convention(boxes, 100, 50)


def test_conventions_that_fit_equally_well_are_all_named():
    sentence = fitting_convention([(0.3, 0.3, 0.4, 0.4)], 100, 50)
    assert "as x, y, w, h from 0 to 1, or as x0, y0, x1, y1 from 0 to 1, or as center x, center y, w, h" in sentence


def test_no_convention_is_named_where_none_fits():
    assert fitting_convention([(900, 900, 5, 5), None], 100, 50) == ""


def test_polygons_have_a_box():
    assert polygon_box([[1, 2, 5, 2, 5, 9], [0, 4, 1, 4]]) == (0, 2, 5, 7)
    with pytest.raises(ValueError, match="expected lists of x, y"):
        polygon_box([[1, 2, 3]])


def coco(tmp_path, boxes, size=(640, 480), file=(640, 480)):
    from PIL import Image

    Image.new("RGB", file).save(tmp_path / "a.png")
    image = {"id": 1, "file_name": "a.png", "width": size[0], "height": size[1]}
    annotations = [{"id": n, "image_id": 1, "category_id": 1, "bbox": box} for n, box in enumerate(boxes)]
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (tmp_path / "instances.json").write_text(json.dumps(content))
    return tmp_path / "instances.json"


def test_corners_in_the_place_of_sizes_stop_a_coco_file_with_the_convention(tmp_path):
    corners = [[300 + n, 100, 500 + n, 300] for n in range(20)]
    with pytest.raises(ValueError, match=r"20 of its 20 boxes.*would fit as x0, y0, x1, y1 in pixels"):
        Coco(tmp_path, instances_file=coco(tmp_path, corners))


def test_shares_in_the_place_of_pixels_stop_a_coco_file_with_the_convention(tmp_path):
    with pytest.raises(ValueError, match=r"would fit as x, y, w, h from 0 to 1"):
        Coco(tmp_path, instances_file=coco(tmp_path, [[0.1, 0.1, 0.5, 0.5]] * 12))


def test_a_few_boxes_that_are_none_are_dropped_and_counted(tmp_path):
    data = Coco(tmp_path, instances_file=coco(tmp_path, [[10, 10, 50, 50]] * 30 + [[600, 400, 600, 400]]))
    assert data.dropped == {"outside its image": 1}
    assert len(data.record(0)["elems"]) == 30


def test_one_overhang_has_one_rule_in_all_formats(tmp_path, write_lines):
    boxes = [[-0.01, 0, 50, 50], [0, 0, 641, 100]]
    file = coco(tmp_path, boxes)
    lines = [{"image": "a.png", "text": "dog", "bbox": box, "ref_id": n} for n, box in enumerate(boxes)]
    keys = dict(caption="text", bb="bbox")
    reader = [LoadImage(), PickPhrases()]
    single = [JsonLines(write_lines(*lines), keys=keys, pipeline=reader)[n]["boxes_xyxy_px"].tolist() for n in (0, 1)]
    together = Coco(tmp_path, instances_file=file, pipeline=reader)[0]["boxes_xyxy_px"].tolist()
    assert together == [box for one in single for box in one]
    assert together[1] == [0, 0, 640, 100]


def test_a_stated_size_that_is_not_the_files_is_a_bad_record(tmp_path):
    data = Coco(tmp_path, instances_file=coco(tmp_path, [[10, 10, 50, 50]], (320, 240)), pipeline=[LoadImage()])
    with pytest.raises(RecordError, match=r"320x240 are stated.*640x480.*rescale_boxes=True"):
        data[0]


def test_boxes_of_a_rescaled_copy_follow_if_asked_to(tmp_path):
    pipeline = [LoadImage(rescale_boxes=True), PickPhrases()]
    data = Coco(tmp_path, instances_file=coco(tmp_path, [[10, 20, 50, 60]], (320, 240)), pipeline=pipeline)
    assert data[0]["boxes_xyxy_px"].tolist() == [[20, 40, 120, 160]]


def test_a_copy_of_another_aspect_is_never_rescaled(tmp_path):
    file = coco(tmp_path, [[10, 20, 50, 60]], (240, 320))
    data = Coco(tmp_path, instances_file=file, pipeline=[LoadImage(rescale_boxes=True)])
    with pytest.raises(RecordError, match=r"240x320 are stated.*640x480.*another aspect"):
        data[0]


def test_the_size_in_json_lines_is_compared_too(tmp_path, write_lines):
    coco(tmp_path, [])
    line = {"image": "a.png", "elems": [{"bb": [1, 2, 30, 40], "caption": "dog"}], "width": 320, "height": 240}
    with pytest.raises(RecordError, match=r"train\.jsonl:1: .*320x240 are stated"):
        JsonLines(write_lines(line), pipeline=[LoadImage()])[0]


def test_a_rescaled_picture_without_boxes_is_in_order(tmp_path, write_lines):
    coco(tmp_path, [])
    line = {"image": "a.png", "caption": "a dog", "width": 320, "height": 240}
    assert len(JsonLines(write_lines(line), pipeline=[LoadImage()])[0]["frames"]) == 1
