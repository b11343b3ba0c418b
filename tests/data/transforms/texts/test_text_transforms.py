import numpy as np
import pytest

from x2vlm.building import build
from x2vlm.data.record import RecordError
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.texts.text_transforms import AllCaptions, PickCaption, PickPair, PickQuestion, PickText
from x2vlm.registry import TRANSFORMS

PARALLEL = {"en": "A dog!", "de": "Ein Hund.", "zh": ""}


def record(**fields):
    return {"where": "train.jsonl:17", "id": "42", **fields}


def test_a_caption_is_about_all_of_the_image():
    picked = PickCaption()(record(caption="A Dog.", frames=[np.zeros((8, 6, 3), np.uint8)]))
    assert (picked["texts"], picked["ids"], picked["has_box"]) == (["a dog"], ["42"], [False])
    assert picked["boxes_xyxy_px"].tolist() == [[0, 0, 6, 8]]


def test_a_caption_can_be_cut_and_left_as_it_is():
    picked = record(caption={"en": ["A red, red dog"]})
    assert PickCaption(max_words=2)(picked)["texts"] == ["a red"]
    assert PickCaption(clean=False)(picked)["texts"] == ["A red, red dog"]
    assert PickCaption(clean=False, max_words=3)(picked)["texts"] == ["A red, red"]


def test_the_named_language_is_taken():
    assert PickCaption(language="de")(record(caption={"en": "dog", "de": "Hund"}))["texts"] == ["hund"]


@pytest.mark.parametrize(
    ("transform", "fields", "reason"),
    [
        (PickCaption(), {}, "there is no caption"),
        (PickCaption(), {"caption": "?!"}, "nothing is left of the text '\\?!'"),
        (PickCaption(clean=False), {"caption": "  "}, "the text is empty"),
        (PickCaption(language="fr"), {"caption": {"en": "dog"}}, "no text in language 'fr', only in: en"),
        (PickText(), {}, "there is no text"),
        (PickText(minimum_words=3), {"text": "two words"}, "fewer than 3 words"),
        (PickPair(), {}, "there is no parallel"),
        (PickPair(), {"parallel": {"en": "dog", "de": ""}}, "needs two languages, got en, de"),
        (PickPair(languages=("en", "fr")), {"parallel": PARALLEL}, "no text in language 'fr'"),
    ],
)
def test_a_record_without_usable_text_is_named(transform, fields, reason):
    with pytest.raises(RecordError, match=rf"train\.jsonl:17: .*{reason}"):
        transform(record(**fields))


def test_plain_text_keeps_punctuation_and_its_first_words():
    picked = PickText(max_words=3)(record(text="Well,  I never! Really"))
    assert (picked["texts"], picked["has_box"]) == (["well, i never!"], [False])
    assert "boxes_xyxy_px" not in picked


def test_sides_of_parallel_text_are_swapped_half_of_the_time(seed):
    picked = [PickPair()(record(parallel=PARALLEL)) for _ in range(400)]
    sides = [(entry["context_text"], entry["texts"][0]) for entry in picked]
    assert set(sides) == {("a dog", "ein hund"), ("ein hund", "a dog")}
    assert abs(sides.count(("a dog", "ein hund")) / 400 - 0.5) < 0.07


def test_two_of_many_languages_are_drawn_unless_two_are_named(seed):
    many = record(parallel={"en": "dog", "de": "Hund", "cs": "pes"})
    drawn = {frozenset((entry["context_text"], entry["texts"][0])) for entry in (PickPair()(many) for _ in range(60))}
    assert drawn == {frozenset(p) for p in (("dog", "hund"), ("dog", "pes"), ("hund", "pes"))}
    named = PickPair(languages=("cs", "en"), clean=False)(many)
    assert {named["context_text"], named["texts"][0]} == {"dog", "pes"}


@pytest.mark.parametrize("languages", ["en", ("en",), ("en", "en"), ("en", "de", "cs")])
def test_languages_that_are_not_two_are_refused(languages):
    with pytest.raises(ValueError, match="expected two different ones"):
        PickPair(languages=languages)


def test_a_record_without_identity_is_its_own():
    assert PickText()({"where": "train.jsonl:17", "text": "dog"})["ids"] == ["train.jsonl:17"]


def test_a_question_is_cleaned_up_as_published_if_asked_to():
    record = {"where": "a:1", "question": "Is <person> here?"}
    assert PickQuestion()(record)["texts"] == ["is person here"]
    assert PickQuestion(clean="published")(record)["texts"] == ["is <person> here"]
    with pytest.raises(ValueError, match="clean is 'yes'"):
        PickQuestion(clean="yes")


FRAME = np.zeros((4, 6, 3), np.uint8)


def captioned(caption, **more):
    return {"where": "a:1", "id": "seven", "caption": caption, **more}


def test_all_captions_of_an_image_share_its_identity_and_mean_all_of_it():
    result = AllCaptions()(captioned(["A dog .", "Two Men!"], frames=[FRAME]))
    assert (result["texts"], result["ids"], result["has_box"]) == (["a dog", "two men"], ["seven"] * 2, [False] * 2)
    assert result["boxes_xyxy_px"].tolist() == [[0, 0, 6, 4]] * 2


def test_all_captions_make_one_sample():
    sample = PackSample()(AllCaptions()(captioned(["a dog", "two men"], frames=[FRAME])))
    assert sample.texts == ["a dog", "two men"]
    assert sample.boxes_xyxy.tolist() == [[0, 0, 1, 1]] * 2
    assert not sample.has_box.any()


def test_all_captions_of_one_caption_are_a_list_of_one():
    assert AllCaptions()(captioned("a dog"))["texts"] == ["a dog"]


def test_all_captions_are_of_one_language_if_it_is_named_and_else_of_every_one():
    caption = {"en": ["a dog", "a cat"], "de": "ein Hund"}
    assert AllCaptions(language="de")(captioned(caption))["texts"] == ["ein hund"]
    assert AllCaptions()(captioned(caption))["texts"] == ["a dog", "a cat", "ein hund"]


def test_words_of_all_captions_are_counted_with_and_without_clean_up():
    assert AllCaptions(max_words=2)(captioned("A dog, running fast"))["texts"] == ["a dog"]
    assert AllCaptions(max_words=2, clean=False)(captioned("A dog, running"))["texts"] == ["A dog,"]
    assert AllCaptions(max_words=None, clean=False)(captioned(" A dog, "))["texts"] == [" A dog, "]


@pytest.mark.parametrize("caption", [None, [], [" . ", "", " \u200b"], {"en": "a dog"}])
def test_a_record_without_usable_captions_is_bad(caption):
    with pytest.raises(RecordError, match=r"^a:1: "):
        build(TRANSFORMS, dict(type="AllCaptions", language="de"))(captioned(caption))


@pytest.mark.parametrize("clean", [True, False])
def test_one_empty_caption_of_five_costs_that_caption_alone_and_is_counted(clean):
    captions = ["a dog", "", "two dogs", "\u200b\u200b ", "a cat"]
    found = AllCaptions(clean=clean).transform(record(caption=captions))
    assert found["texts"] == ["a dog", "two dogs", "a cat"]
    assert (len(found["ids"]), len(found["has_box"]), found["extras"]) == (3, 3, {"dropped_texts": 2})
