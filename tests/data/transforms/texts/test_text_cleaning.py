import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.data.transforms.texts.text_cleaning import clean_caption, clean_question, clean_text, is_blank


def test_a_caption_is_cleaned_up_step_by_step():
    assert clean_caption("A man's <PERSON> -- runs/walks,  quickly!\n") == "a man s person runs walks quickly"


@pytest.mark.parametrize("sign", list(",.'!?\"()*#:;~-/"))
def test_each_sign_becomes_a_space(sign):
    assert clean_caption(f"a{sign}b") == "a b"


@pytest.mark.parametrize("sign", list("%&$_+=@[]{}|<>"))
def test_other_signs_stay(sign):
    assert clean_caption(f"a{sign}b") == f"a{sign}b"


@pytest.mark.parametrize(
    ("text", "max_words", "expected"),
    [
        ("a b c", 2, "a b"),
        ("a b c", 3, "a b c"),
        ("a b c", None, "a b c"),
        ("a,b c", 2, "a b"),
        ("don't go", 2, "don t"),
    ],
)
def test_the_first_words_are_kept(text, max_words, expected):
    assert clean_caption(text, max_words) == expected


@pytest.mark.parametrize("text", ["", " \n", "...", "?! - /", "\t"])
def test_a_text_of_which_nothing_is_left_is_an_error(text):
    for clean in (clean_caption, clean_question, clean_text):
        if clean is not clean_text or not text.strip():
            with pytest.raises(ValueError, match=r"nothing is left|fewer than 1 words"):
                clean(text)


@given(st.text(alphabet=st.sampled_from(" \n\tabAB,.'!?\"()*#:;~-/<person>"), max_size=30))
def test_whatever_comes_in_a_caption_comes_out_without_signs_capitals_or_runs_of_space(text):
    try:
        cleaned = clean_caption(text)
    except ValueError:
        assert not re.sub(r"[\s,.'!?\"()*#:;~/-]", "", text)
        return
    assert cleaned == cleaned.lower().strip(" ")
    assert not re.search(r"\s\s|[,.'!?\"()*#:;~/-]", cleaned)


def test_a_question_keeps_inner_and_leading_spaces():
    assert clean_question("  What is  it - a dog?\n") == "  what is  it   a dog"


def test_plain_text_keeps_its_punctuation():
    assert clean_text("It's  9:30 - \t come,\n please!\n") == "it's 9:30 - come, please!"


def test_plain_text_with_too_few_words_is_an_error():
    assert clean_text("two words", minimum_words=2) == "two words"
    with pytest.raises(ValueError, match="fewer than 3 words"):
        clean_text("two words", minimum_words=3)


def test_the_published_clean_up_of_questions_keeps_signs_of_people_and_line_ends():
    raw = "Is <person>\nleft-handed? \n"
    assert clean_question(raw) == "is person\nleft handed"
    assert clean_question(raw, published=True) == "is <person>\nleft handed  \n"


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff \u2060"])
def test_what_shows_nothing_is_blank(text):
    assert is_blank(text) and not is_blank(text + "a")
