import pytest

from x2vlm.data.transforms.texts.field_texts import all_texts, choose_text


def test_one_caption_of_a_list_is_drawn_and_each_comes_up(seed):
    assert {choose_text(["a", "b", "c"]) for _ in range(50)} == {"a", "b", "c"}


def test_a_language_is_drawn_unless_one_is_named(seed):
    captions = {"en": "dog", "de": ["Hund", "Köter"], "fr": []}
    assert {choose_text(captions) for _ in range(50)} == {"dog", "Hund", "Köter"}
    assert {choose_text(captions, "en") for _ in range(9)} == {"dog"}
    with pytest.raises(ValueError, match="no text in language 'fr', only in: en, de"):
        choose_text(captions, "fr")


@pytest.mark.parametrize("value", [None, 3, [], [3], {}, {"en": []}, "dog \ud83d"])
def test_what_is_no_text_is_refused(value):
    for take in (choose_text, all_texts):
        with pytest.raises(
            ValueError, match=r"expected a text|not complete|list of texts is empty|no text in language"
        ):
            take(value)


def test_every_text_keeps_the_order():
    assert all_texts("dog") == ["dog"]
    assert all_texts({"en": ["dog", "hound"], "de": "Hund", "fr": []}) == ["dog", "hound", "Hund"]
    assert all_texts({"en": ["dog", "hound"], "de": "Hund"}, "de") == ["Hund"]
