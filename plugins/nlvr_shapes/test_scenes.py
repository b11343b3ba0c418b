"""Drawn scenes: the geometry of the corpus, exact boxes."""

import json
from random import Random

import cv2
import numpy as np
import pytest

from plugins.nlvr_shapes.dataset import NlvrShapes
from plugins.nlvr_shapes.scenes import COLORS, GROUND, STRIP, Scene, box_of, draw_scene, make_scene, read_scene
from plugins.nlvr_shapes.transforms import NarrowStrips
from x2vlm.data.datasets.public_questions.nlvr_v1 import ORDERS
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import RecordError


@pytest.mark.parametrize("towers", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_a_box_is_tight_around_its_shape_and_no_colour_lies_outside_the_boxes(towers, seed):
    scene = make_scene(Random(seed), towers)
    image = draw_scene(scene).astype(int)
    colored = image.max(axis=2) - image.min(axis=2) > 0  # yellow and blue
    colored |= image.max(axis=2) < STRIP  # black
    for slot, box in enumerate(scene.boxes):
        for item in box:
            x, y, width, height = map(int, box_of(item, slot))
            part = colored[y : y + height, x : x + width]
            assert part.any(axis=0)[[1, -2]].all() and part.any(axis=1)[[1, -2]].all()
            assert tuple(image[y + height * 6 // 10, x + width // 2]) == COLORS[item.color]
            colored[y : y + height, x : x + width] = False
    assert not colored.any()


def test_the_items_of_a_scene_keep_apart_and_stay_inside_their_box():
    for seed in range(30):
        for box in make_scene(Random(seed), towers=False).boxes:
            taken = np.zeros((100, 100), dtype=int)
            for item in box:
                assert item.x >= 0 and item.right <= 100 and item.y >= 0 and item.bottom <= 100
                taken[item.y : item.bottom, item.x : item.right] += 1
            assert taken.max() == 1


def test_a_scene_is_read_back_from_the_corpus_notation_base_first():
    block = {"x_loc": 40, "size": 20, "type": "square"}
    tower = [block | {"y_loc": 59, "color": "#0099ff"}, block | {"y_loc": 80, "color": "Black"}]
    scene = read_scene([tower, tower[:1], tower[1:]], order=(2, 0, 1))
    assert scene.towers
    assert [[item.color for item in box] for box in scene.boxes] == [["black"], ["black", "blue"], ["blue"]]


def test_a_drawn_scene_is_the_image_of_the_corpus_but_for_edges(corpus):
    images = TarIndex(corpus / "dev_images.tar")
    for line in (corpus / "dev.jsonl").read_text().splitlines()[:20]:
        example = json.loads(line)
        for number in (0, 3):
            image = np.frombuffer(images.read(example["images"][number], "dev"), dtype=np.uint8)
            image = cv2.imdecode(image, cv2.IMREAD_COLOR)[..., ::-1].astype(int)
            drawn = draw_scene(read_scene(example["structured_rep"], ORDERS[number]))
            assert np.abs(drawn - image).max() < 45 and np.abs(drawn - image).mean() < 0.3


def test_a_record_is_the_same_at_every_call_and_another_under_another_seed():
    first, again, other = NlvrShapes().record(5), NlvrShapes().record(5), NlvrShapes(seed=1).record(5)
    assert first["statements"] == again["statements"] and np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])


@pytest.mark.parametrize("option", [{"kind": "words"}, {"num_scenes": 0}, {"towers": 1.5}, {"num_statements": 0}])
def test_an_option_without_meaning_is_refused(option):
    with pytest.raises(ValueError, match=next(iter(option))):
        NlvrShapes(**option)


def test_a_narrower_strip_moves_the_boxes_with_their_shapes():
    record = NlvrShapes(kind="phrases").record(0)
    moved = NarrowStrips(20).transform(record | {"frames": [record["image"]]})
    frame = moved["frames"][0]
    assert frame.shape == (100, 340, 3)
    assert (frame[:, 100:120] == STRIP).all() and (frame[:, 220:240] == STRIP).all()
    for before, after in zip(record["elems"], moved["elems"], strict=True):
        (x, y, w, h), (x2, *_) = map(int, before["bb"]), map(int, after["bb"])
        assert np.array_equal(record["image"][y : y + h, x : x + w], frame[y : y + h, x2 : x2 + w])


def test_an_image_of_another_size_is_a_bad_record():
    with pytest.raises(RecordError, match="400 x 100"):
        NarrowStrips().transform({"where": "x:1", "frames": [np.zeros((10, 10, 3), dtype=np.uint8)]})


def test_an_empty_scene_is_three_grey_boxes():
    image = draw_scene(Scene(((), (), ()), towers=False))
    assert (image[:, :100] == GROUND).all() and (image[:, 100:150] == STRIP).all()
