"""Several texts of a record, one of them right."""

import pytest

from x2vlm.data.record import RecordError
from x2vlm.data.transforms.texts.answer_choices import PickChoices, PickHardNegatives


def question(**fields):
    return {"where": "val.csv:2", "question": "Why does he jump?", "choices": list("vwxyz"), "label": "2"} | fields


def test_every_choice_is_a_text_behind_its_question_and_one_is_right():
    made = PickChoices().transform(question(choices=["to play.", "He's hot", "rest", "eat", "fall"]))
    assert made["texts"][:2] == ["why does he jump to play", "why does he jump he s hot"]
    assert made["labels"] == [0, 0, 1, 0, 0]
    assert made["ids"] == ["val.csv:2"] * 5
    assert made["extras"]["answers"] == ["rest"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(label="5"), "its label is '5'; expected the number of the right answer"),
        (dict(label="to play"), "expected the number of the right answer"),
        (dict(choices=list("vwxy")), "expected 5 answers to choose from"),
        (dict(question=None), "there is no question"),
    ],
)
def test_a_question_that_cannot_be_chosen_from_is_a_bad_record(fields, message):
    with pytest.raises(RecordError, match=message):
        PickChoices().transform(question(**fields))


def test_the_true_caption_stands_before_the_wrong_ones():
    record = {"where": "a:1", "caption": "A red dog.", "negatives": ["A red cat."]}
    made = PickHardNegatives().transform(record)
    assert (made["texts"], made["labels"]) == (["a red dog", "a red cat"], [1, 0])


def test_a_caption_without_wrong_ones_is_a_bad_record():
    with pytest.raises(RecordError, match="expected a caption and some that are wrong"):
        PickHardNegatives().transform({"where": "a:1", "caption": "A red dog.", "negatives": []})
