import pytest

from x2vlm.data.transforms.texts.left_right_words import mentions_side


@pytest.mark.parametrize(
    "text",
    ["the LEFT dog", "a right-hand drive", "leftmost", "der linke Hund", "rechts", "à gauche", "vpravo", "左边的狗"],
)
def test_words_that_mention_left_or_right_are_found(text):
    assert mentions_side(text)


@pytest.mark.parametrize("text", ["a bright dog", "upright", "copyright", "a cleft", "top", "ein roter Hund", "狗"])
def test_other_words_are_not_taken_for_sides(text):
    assert not mentions_side(text)
