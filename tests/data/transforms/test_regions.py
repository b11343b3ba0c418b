import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.data.record import RecordError
from x2vlm.data.transforms.elements import box_inside
from x2vlm.data.transforms.images.load_crop_flip import Flip, Resize
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.regions import PickPhrases, PickRegions, RegionsAsCaptions, random_crop_around

DOG = {"bb": (2, 3, 4, 5), "caption": "A dog.", "attributes": "big brown", "kind": "object"}
CAT = {"bb": (10, 2, 6, 4), "caption": ["cat", "kitten"], "kind": "object"}
BOTH = {"bb": (1, 1, 15, 8), "caption": "a dog and a cat", "kind": "region"}
OUTSIDE = {"bb": (15, 0, 9, 4), "caption": "bird", "kind": "object"}


def record(*elems, width=20, height=12, **fields):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return {"where": "train.jsonl:17", "id": "42", "frames": [frame], "elems": list(elems), **fields}


def fixed_part(monkeypatch, part):
    monkeypatch.setattr("x2vlm.data.transforms.regions.random_crop_around", lambda box, width, height: part)


elements = st.lists(
    st.tuples(st.floats(0, 18), st.floats(0, 10), st.floats(0.6, 1), st.floats(0.6, 1)).map(
        lambda b: {"bb": (b[0], b[1], b[2] * (20 - b[0]), b[3] * (12 - b[1])), "caption": "dog"}
    ),
    min_size=1,
    max_size=8,
)


@given(elements)
def test_a_part_keeps_its_element_whole_and_lies_in_the_image(elems):
    for elem in elems:
        x0, y0, x1, y1 = box_inside(elem, 20, 12)
        left, top, right, bottom = random_crop_around((x0, y0, x1, y1), 20, 12)
        assert 0 <= left <= x0 and 0 <= top <= y0 and x1 <= right <= 20 and y1 <= bottom <= 12


@given(elements)
def test_an_annotated_box_goes_to_corners_and_back(elems):
    for elem in elems:
        x0, y0, x1, y1 = box_inside(elem, 20, 12)
        assert (x0, y0, x1 - x0, y1 - y0) == pytest.approx(elem["bb"], abs=1e-9)


def test_the_sides_of_a_part_are_drawn_between_the_element_and_the_image(seed):
    parts = [random_crop_around((2.5, 3.0, 6.2, 8.0), 9, 10) for _ in range(300)]
    sides = [sorted(set(side)) for side in zip(*parts, strict=True)]
    assert sides == [[0, 1, 2], [0, 1, 2, 3], [7, 8, 9], [8, 9, 10]]  # floor of x, ceil of x + w


@given(elements)
def test_boxes_stay_inside_the_part_and_one_is_whole(elems):
    picked = PickRegions(max_regions=len(elems))(record(*elems))
    height, width = picked["frames"][0].shape[:2]
    actual = picked["boxes_xyxy_px"]
    assert (actual[:, :2] >= 0).all() and (actual[:, 2:] <= np.array([width, height]) + 1e-4).all()
    assert (actual[:, 2:] >= actual[:, :2]).all()
    sizes = np.array([elem["bb"][2:] for elem in elems])
    kept = actual[:, 2:] - actual[:, :2]
    assert np.isclose(kept[:, None], sizes[None], atol=1e-4).all(axis=2).any()


def test_boxes_are_cut_to_the_part_and_counted_from_its_corner(monkeypatch):
    fixed_part(monkeypatch, (3, 2, 15, 10))
    picked = PickRegions()(record(DOG, CAT, BOTH))
    assert picked["frames"][0].shape == (8, 12, 3)
    rows = dict(zip(picked["texts"], picked["boxes_xyxy_px"].tolist(), strict=True))
    assert rows.pop("big brown a dog") == [0, 1, 3, 6]  # 15 of 20 pixels inside
    assert rows.pop("a dog and a cat") == [0, 0, 12, 7]  # 84 of 120
    assert list(rows.values()) == [[7, 0, 12, 4]]  # 20 of 24
    assert picked["has_box"] == [True] * 3


@pytest.mark.parametrize(("right", "kept"), [(5, True), (4, False)])
def test_an_element_needs_more_than_half_of_itself_inside(monkeypatch, right, kept):
    fixed_part(monkeypatch, (0, 0, right, 12))  # DOG reaches from 2 to 6
    picked = PickRegions()(record(DOG, {"bb": (0, 0, 1, 1), "caption": "bird"}))
    assert ("big brown a dog" in picked["texts"]) == kept


def test_a_region_goes_through_crop_flip_and_resize_to_the_numbers_computed_by_hand(monkeypatch):
    fixed_part(monkeypatch, (1, 2, 11, 12))  # 10 x 10
    results = PickRegions()(record(DOG, caption="An image!"))
    assert results["boxes_xyxy_px"].tolist() == [[0, 0, 10, 10], [1, 1, 5, 6]]
    results = Flip(prob=1)(results)
    assert results["boxes_xyxy_px"].tolist() == [[0, 0, 10, 10], [5, 1, 9, 6]]  # x = 10 - 1 - 4
    results = Resize(20)(results)
    assert results["boxes_xyxy_px"].tolist() == [[0, 0, 20, 20], [10, 2, 18, 12]]
    sample = PackSample()(results)
    np.testing.assert_allclose(sample.boxes_xyxy, [[0, 0, 1, 1], [0.5, 0.1, 0.9, 0.6]], rtol=1e-6)
    assert sample.has_box.tolist() == [False, True]


def test_the_caption_of_the_whole_image_comes_first_and_counts(seed):
    picked = [PickRegions(max_regions=2)(record(DOG, CAT, BOTH, caption=["The image.", "A view"])) for _ in range(40)]
    assert {entry["texts"][0] for entry in picked} == {"the image", "a view"}
    assert {len(entry["texts"]) for entry in picked} <= {1, 2}
    for entry in picked:
        height, width = entry["frames"][0].shape[:2]
        assert entry["boxes_xyxy_px"][0].tolist() == [0, 0, width, height]
        assert entry["has_box"] == [False] + [True] * (len(entry["texts"]) - 1)
        assert entry["ids"][0] == "42" and "42" not in entry["ids"][1:]
    assert PickRegions(max_regions=1)(record(DOG, caption="a view"))["texts"] == ["a view"]


def test_at_most_max_regions_are_taken_in_random_order(seed, monkeypatch):
    fixed_part(monkeypatch, (0, 0, 20, 12))
    many = [{"bb": (i, 0, 1, 1), "caption": f"thing{i}"} for i in range(4)]
    orders = Counter(tuple(PickRegions(max_regions=2)(record(*many))["texts"]) for _ in range(1200))
    assert len(orders) == 12  # 4 x 3
    assert all(abs(count / 1200 - 1 / 12) < 0.03 for count in orders.values())


def test_without_training_all_of_the_image_is_seen_and_the_order_stays():
    picked = PickRegions(max_regions=3, training=False)(record(DOG, BOTH, CAT, caption="view"))
    assert picked["texts"] == ["view", "big brown a dog", "a dog and a cat"]
    assert picked["boxes_xyxy_px"].tolist() == [[0, 0, 20, 12], [2, 3, 6, 8], [1, 1, 16, 9]]
    assert picked["frames"][0].shape == (12, 20, 3)


@pytest.mark.parametrize("choose", [PickRegions(), PickPhrases()])
def test_one_bad_box_does_not_silence_the_others(choose, seed):
    bad = [OUTSIDE, {"bb": (1, 1, 0, 3), "caption": "thin"}, {"bb": (1, 1, 2), "caption": "short"}]
    bad += [{"bb": (math.nan, 1, 2, 2), "caption": "nan"}, {"bb": (-4, 1, 8, 3), "caption": "off"}]
    bad += [{"bb": (1, 1, 2, 2), "caption": "!?"}, {"bb": (1, 1, 2, 2)}, {"caption": "boxless"}]
    picked = choose(record(*bad, DOG, extras={"answer": 1}))
    assert picked["texts"] == ["big brown a dog"]
    assert (picked["extras"]["answer"], picked["extras"]["dropped_boxes"]) == (1, len(bad))


@pytest.mark.parametrize("choose", [PickRegions(), PickPhrases()])
def test_a_record_without_any_good_box_reports_what_is_wrong(choose):
    reason = (
        r"train\.jsonl:17: no element is usable\. elems\[0\] 'bird': its box x=15 y=0 w=9 h=4 is not inside the "
        r"20x12 image; elems\[1\] 'None': its box is None; expected four numbers x, y, w, h; .*; and 1 more"
    )
    with pytest.raises(RecordError, match=reason):
        choose(record(OUTSIDE, {}, OUTSIDE, OUTSIDE))


def test_a_box_may_overshoot_by_a_rounding():
    assert box_inside({"bb": (18.01, 0, 1.9900000001, 12)}, 20, 12)[2] == 20
    assert box_inside({"bb": (18, 0, 5, 12)}, 20, 12)[2] == 20
    with pytest.raises(ValueError, match="not inside the 20x12 image"):
        box_inside({"bb": (18, 0, 5.01, 12)}, 20, 12)


@pytest.mark.parametrize("choose", [PickRegions(training=False, kinds=("object",)), PickPhrases(kinds=("object",))])
def test_only_elements_of_the_requested_kinds_are_taken(choose, seed):
    picked = choose(record(DOG, BOTH))
    assert picked["texts"] == ["big brown a dog"]
    assert picked["extras"]["dropped_boxes"] == 0


@pytest.mark.parametrize("choose", [PickRegions(kinds=("object",)), PickPhrases(kinds=("object",))])
def test_a_record_without_the_requested_kinds_is_in_order_and_gives_no_pair(choose, seed):
    picked = choose(record(BOTH))
    assert (picked["texts"], picked["has_box"], picked["ids"]) == ([], [], [])
    assert picked["boxes_xyxy_px"].shape == (0, 4)
    sample = PackSample()(picked)
    assert (sample.texts, sample.boxes_xyxy.shape, sample.has_box.shape) == ([], (0, 4), (0,))


def test_elements_left_out_by_kind_do_not_keep_an_image_from_being_mirrored(seed):
    left = {**BOTH, "caption": "a dog left of a cat"}
    picked = PickRegions(kinds=("object",), training=False)(record(DOG, left))
    assert not np.array_equal(Flip(prob=1)(picked)["frames"][0], picked["frames"][0])
    picked = PickRegions(training=False)(record(DOG, left))
    assert np.array_equal(Flip(prob=1)(picked)["frames"][0], picked["frames"][0])


def test_a_record_with_a_caption_and_no_element_of_the_kind_is_a_whole_image():
    picked = PickRegions(kinds=("object",))(record(BOTH, caption="a view"))
    assert (picked["texts"], picked["has_box"]) == (["a view"], [False])
    assert picked["frames"][0].shape == (12, 20, 3)


def test_a_record_with_nothing_to_say_is_an_error():
    with pytest.raises(RecordError, match="there are no elems"):
        PickRegions()(record())
    with pytest.raises(RecordError, match=r"caption of the whole image: nothing is left of the text '\?'"):
        PickRegions()(record(DOG, caption="?"))


@pytest.mark.parametrize("kinds", ["object", ()])
def test_kinds_are_a_sequence_of_words(kinds):
    with pytest.raises(ValueError, match="expected a sequence such as"):
        PickRegions(kinds=kinds)


@pytest.mark.parametrize("option", [{"max_regions": 0}, {"min_inside": 1.0}, {"min_inside": -0.1}])
def test_a_number_without_meaning_is_named(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} is"):
        PickRegions(**option)


def test_attributes_and_captions_come_from_one_language(seed):
    elem = {**DOG, "caption": {"en": ["dog"], "de": "Hund", "fr": []}, "attributes": {"en": "big", "de": ["großer"]}}
    texts = {PickRegions()(record(elem))["texts"][0] for _ in range(40)}
    assert texts == {"big dog", "großer hund"}
    assert PickRegions(language="de")(record(elem))["texts"] == ["großer hund"]
    assert PickPhrases(language="de")(record(elem))["texts"] == ["großer hund"]
    assert PickPhrases()(record(elem))["texts"] == ["big dog", "großer hund"]


def test_one_of_several_attributes_and_captions_is_drawn(seed):
    elem = {**CAT, "attributes": ["red", "small"]}
    texts = {PickRegions()(record(elem))["texts"][0] for _ in range(60)}
    assert texts == {"red cat", "small cat", "red kitten", "small kitten"}


def test_words_are_counted_with_the_attributes():
    assert PickRegions(max_words=3)(record(DOG))["texts"] == ["big brown a"]
    assert PickPhrases(max_words=3)(record(DOG))["texts"] == ["big brown a"]


def test_every_phrase_becomes_a_pair_with_its_box_for_evaluation():
    picked = PickPhrases()(record(DOG, CAT))
    assert picked["texts"] == ["big brown a dog", "cat", "kitten"]
    assert picked["boxes_xyxy_px"].tolist() == [[2, 3, 6, 8], [10, 2, 16, 6], [10, 2, 16, 6]]
    assert picked["has_box"] == [True] * 3
    assert picked["frames"][0].shape == (12, 20, 3)


def test_texts_of_one_box_share_their_identity_and_others_do_not():
    ids = PickPhrases()(record(DOG, CAT))["ids"]
    assert ids[1] == ids[2] != ids[0]
    random.seed(0)
    assert set(PickRegions(training=False)(record(DOG, CAT))["ids"]) == set(ids)
    assert not set(PickPhrases()(record(DOG, CAT, id="43"))["ids"]) & set(ids)


def test_phrases_list_the_kinds_of_their_elements(seed):
    picked = PickPhrases()(record(DOG, {**BOTH, "caption": ["a dog", "two animals"]}))
    assert picked["extras"]["kinds"] == [DOG["kind"]] + [BOTH["kind"]] * 2


def test_sentences_of_regions_become_captions_once_each_and_objects_none():
    elems = [
        {"bb": (0, 0, 9, 9), "caption": "a grey wall", "kind": "region"},
        {"bb": (0, 0, 9, 9), "caption": "wall", "kind": "object"},
        {"bb": (1, 1, 9, 9), "caption": "a dog", "kind": "region"},
        {"bb": (2, 2, 9, 9), "caption": "a grey wall", "kind": "region"},
        {"bb": (2, 2, 9, 9), "caption": " ", "kind": "region"},
    ]
    record = {"where": "a:1", "id": "1", "image": "1.jpg", "elems": elems, "stated_size": (9, 9), "extras": {}}
    results = RegionsAsCaptions()(record)
    assert results == {"where": "a:1", "id": "1", "image": "1.jpg", "caption": ["a grey wall", "a dog"], "extras": {}}
    with pytest.raises(RecordError, match="there is no region with a caption"):
        RegionsAsCaptions()(record | {"elems": elems[1:2]})
