"""The accuracy of the VQA challenge, against values computed by hand."""

import pytest

from x2vlm.evaluation.metrics.vqa_accuracy import normalized_answer, vqa_accuracy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A Red Ball", "red ball"),
        ("the dog and an apple", "dog and apple"),
        ("Two", "2"),
        ("none", "0"),
        ("ten men", "10 men"),
        ("eleven", "eleven"),
        ("yes.", "yes"),
        ("1.5", "1.5"),
        ("U.S.A.", "usa"),
        ("black-and-white", "black and white"),  # no sign beside a space: it becomes one
        ("black - white", "black white"),
        ("red, blue", "red blue"),
        ("red,blue", "red blue"),
        ("1,000", "1000"),
        ("1,000 black-and-white", "1000 blackandwhite"),  # a number with a comma: all signs are dropped
        ("what?!", "what"),
        ("rock/ pop/jazz", "rock popjazz"),  # one occurrence of a sign beside a space decides for all of it
        ("dont know", "don't know"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("ow's'at", "'ow's'at"),
        ("y'alld've", "y'all'd've"),
        ("somebody'd", "somebodyd"),
        ("were well shes", "were well shes"),
        ("12:30", "12:30"),
        ("men's", "men's"),
        ("", ""),
    ],
)
def test_answers_are_normalised_as_in_the_challenge(text, expected):
    assert normalized_answer(text) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, 0.0),
        (1, (1 * 0 + 9 * 1 / 3) / 10),
        (2, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        (3, (3 * 2 / 3 + 7 * 1) / 10),
        (4, 1.0),
        (9, 1.0),
    ],
)
def test_each_of_ten_annotators_is_left_out_in_turn(count, expected):
    annotations = ["blue"] * count + ["red"] * (10 - count)
    assert vqa_accuracy("blue", annotations) == pytest.approx(expected)


def test_annotators_who_agree_to_the_letter_are_compared_without_normalisation():
    assert vqa_accuracy("2", ["two"] * 10) == 0
    assert vqa_accuracy("two", ["two"] * 10) == 1
    assert vqa_accuracy("the two\n", ["two"] * 9 + ["2"]) == 1


def test_one_annotation_is_too_few():
    with pytest.raises(ValueError, match="answers of several annotators, got 1"):
        vqa_accuracy("yes", ["yes"])
