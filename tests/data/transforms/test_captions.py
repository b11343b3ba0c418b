import numpy as np
import pytest

from x2vlm.building import build
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.captions import AllCaptions
from x2vlm.data.transforms.image import PackSample
from x2vlm.registry import TRANSFORMS

FRAME = np.zeros((4, 6, 3), np.uint8)


def record(caption, **more):
    return {"where": "a:1", "id": "seven", "caption": caption, **more}


def test_all_captions_of_a_picture_share_its_identity_and_mean_all_of_it():
    result = AllCaptions()(record(["A dog .", "Two Men!"], frames=[FRAME]))
    assert (result["texts"], result["ids"], result["has_box"]) == (["a dog", "two men"], ["seven"] * 2, [False] * 2)
    assert result["boxes_xyxy_px"].tolist() == [[0, 0, 6, 4]] * 2


def test_they_make_one_sample():
    sample = PackSample()(AllCaptions()(record(["a dog", "two men"], frames=[FRAME])))
    assert sample.texts == ["a dog", "two men"]
    assert sample.boxes_xyxy.tolist() == [[0, 0, 1, 1]] * 2
    assert not sample.has_box.any()


def test_one_caption_is_a_list_of_one():
    assert AllCaptions()(record("a dog"))["texts"] == ["a dog"]


def test_a_language_can_be_named_and_else_all_are_taken():
    caption = {"en": ["a dog", "a cat"], "de": "ein Hund"}
    assert AllCaptions(language="de")(record(caption))["texts"] == ["ein hund"]
    assert AllCaptions()(record(caption))["texts"] == ["a dog", "a cat", "ein hund"]


def test_words_are_counted_with_and_without_clean_up():
    assert AllCaptions(max_words=2)(record("A dog, running fast"))["texts"] == ["a dog"]
    assert AllCaptions(max_words=2, clean=False)(record("A dog, running"))["texts"] == ["A dog,"]
    assert AllCaptions(max_words=None, clean=False)(record(" A dog, "))["texts"] == [" A dog, "]


@pytest.mark.parametrize("caption", [None, [], [" . ", "", " \u200b"], {"en": "a dog"}])
def test_a_record_without_usable_captions_is_bad(caption):
    with pytest.raises(RecordError, match=r"^a:1: "):
        build(TRANSFORMS, dict(type="AllCaptions", language="de"))(record(caption))


@pytest.mark.parametrize("clean", [True, False])
def test_one_empty_caption_of_five_costs_that_caption_alone_and_is_counted(clean):
    captions = ["a dog", "", "two dogs", "\u200b\u200b ", "a cat"]
    found = AllCaptions(clean=clean).transform(record(captions))
    assert found["texts"] == ["a dog", "two dogs", "a cat"]
    assert (len(found["ids"]), len(found["has_box"]), found["extras"]) == (3, 3, {"dropped_texts": 2})
