"""The accuracy of the VQA challenge, by hand."""

import pytest

from x2vlm.evaluation.metrics.vqa_accuracy import exact_match, most_frequent, normalized_answer, vqa_accuracy


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
        ("rock/ pop/jazz", "rock popjazz"),  # of a sign, one place beside a space decides for all
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
    ("gave", "expected"),
    [
        (0, 0.0),
        (1, (1 * 0 + 9 * 1 / 3) / 10),
        (2, (2 * 1 / 3 + 8 * 2 / 3) / 10),
        (3, (3 * 2 / 3 + 7 * 1) / 10),
        (4, 1.0),
        (9, 1.0),
    ],
)
def test_each_of_ten_people_is_left_out_in_turn(gave, expected):
    people = ["blue"] * gave + ["red"] * (10 - gave)
    assert vqa_accuracy("blue", people) == pytest.approx(expected)


def test_people_who_agree_to_the_letter_are_compared_as_they_wrote():
    assert vqa_accuracy("2", ["two"] * 10) == 0
    assert vqa_accuracy("two", ["two"] * 10) == 1
    assert vqa_accuracy("the two\n", ["two"] * 9 + ["2"]) == 1


def test_one_answer_is_matched_exactly_once_normalised():
    assert exact_match("The dog.", "dog") == 1
    assert exact_match("dogs", "dog") == 0


def test_the_most_frequent_answer_is_counted_over_all_questions():
    assert most_frequent([["no", "yes"], ["no"], ["yes", "a"]]) == "no"


def test_one_person_is_too_few():
    with pytest.raises(ValueError, match="several people's answers, got 1"):
        vqa_accuracy("yes", ["yes"])
