import numpy as np
import pytest

from x2vlm.data.record import RecordError
from x2vlm.data.transforms.text import PickCaption, PickPair, PickQuestion, PickText

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
    sides = [(one["context_text"], one["texts"][0]) for one in picked]
    assert set(sides) == {("a dog", "ein hund"), ("ein hund", "a dog")}
    assert abs(sides.count(("a dog", "ein hund")) / 400 - 0.5) < 0.07


def test_two_of_many_languages_are_drawn_unless_two_are_named(seed):
    many = record(parallel={"en": "dog", "de": "Hund", "cs": "pes"})
    drawn = {frozenset((one["context_text"], one["texts"][0])) for one in (PickPair()(many) for _ in range(60))}
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
