import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from x2vlm.building import ConfigError, build
from x2vlm.data.tokenizer import (
    SPECIAL_TOKENS,
    bert_vocab,
    choose_text,
    clean_caption,
    clean_question,
    clean_text,
    every_text,
    hf_tokenizer,
    is_blank,
    mentions_side,
    tokenize,
)
from x2vlm.registry import TOKENIZERS

WORDS = ("a", "red", "dog", "play", "##ing", "##s", "mat")


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
    for take in (choose_text, every_text):
        with pytest.raises(
            ValueError, match=r"expected a text|not complete|list of texts is empty|no text in language"
        ):
            take(value)


def test_every_text_keeps_the_order():
    assert every_text("dog") == ["dog"]
    assert every_text({"en": ["dog", "hound"], "de": "Hund", "fr": []}) == ["dog", "hound", "Hund"]
    assert every_text({"en": ["dog", "hound"], "de": "Hund"}, "de") == ["Hund"]


@pytest.mark.parametrize(
    "text",
    ["the LEFT dog", "a right-hand drive", "leftmost", "der linke Hund", "rechts", "à gauche", "vpravo", "左边的狗"],
)
def test_words_that_tell_left_from_right_are_found(text):
    assert mentions_side(text)


@pytest.mark.parametrize("text", ["a bright dog", "upright", "copyright", "a cleft", "top", "ein roter Hund", "狗"])
def test_other_words_are_not_taken_for_sides(text):
    assert not mentions_side(text)


def test_texts_are_cut_so_that_both_ends_fit():
    tokenizer = bert_vocab(WORDS)
    ids = tokenizer.get_vocab()
    rows = tokenize(tokenizer, ["a red dog playing", "dogs"], max_tokens=5)
    names = {index: piece for piece, index in ids.items()}
    assert [names[i] for i in rows[0]] == ["[CLS]", "a", "red", "dog", "[SEP]"]
    assert [names[i] for i in rows[1]] == ["[CLS]", "dog", "##s", "[SEP]"]
    assert tokenize(tokenizer, [], max_tokens=5) == []


def test_a_list_of_words_gets_the_special_tokens_in_front():
    tokenizer = bert_vocab(WORDS)
    assert tokenizer.convert_ids_to_tokens(range(6)) == [*SPECIAL_TOKENS, "a"]
    assert len(tokenizer) == len(SPECIAL_TOKENS) + len(WORDS)


def test_a_vocabulary_file_gives_its_line_numbers_as_ids(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join([*SPECIAL_TOKENS, *WORDS]) + "\n")
    tokenizer = build(TOKENIZERS, dict(type="BertVocab", vocab=str(file)))
    assert tokenizer.convert_tokens_to_ids("dog") == 7
    assert tokenizer.tokenize("A Dógs") == ["a", "dog", "##s"]


def test_a_cased_vocabulary_keeps_capitals():
    assert bert_vocab(["A", "a"], lowercase=False).tokenize("A a") == ["A", "a"]


def test_a_file_without_special_tokens_is_no_bert_vocabulary(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]))
    with pytest.raises(ConfigError, match=r"tokenizer: .*vocab\.txt is no BERT vocabulary: it has no \[MASK\]"):
        build(TOKENIZERS, dict(type="BertVocab", vocab=str(file)), path="tokenizer")


def test_a_missing_vocabulary_is_named():
    with pytest.raises(FileNotFoundError, match=r"tokenizer: vocab: /nowhere/vocab\.txt does not exist"):
        build(TOKENIZERS, dict(type="BertVocab", vocab="/nowhere/vocab.txt"), path="tokenizer")


def test_a_piece_that_is_there_twice_is_named():
    with pytest.raises(ValueError, match="has 'dog' twice"):
        bert_vocab(["dog", "cat", "dog"])


def test_a_vocabulary_without_words_is_refused():
    with pytest.raises(ValueError, match="5 tokens, all of them special ones"):
        bert_vocab([])


def test_a_saved_tokenizer_comes_back_from_its_folder(tmp_path):
    saved = bert_vocab(WORDS)
    saved.save_pretrained(tmp_path)
    assert build(TOKENIZERS, dict(type="HFTokenizer", path=str(tmp_path))).get_vocab() == saved.get_vocab()


def test_a_tokenizer_whose_vocabulary_was_not_found_is_refused(tmp_path):
    from transformers import BertTokenizer

    BertTokenizer().save_pretrained(tmp_path)  # no vocabulary, no complaint: five special tokens
    with pytest.raises(ValueError, match="5 tokens, all of them special ones: its vocabulary was not found"):
        hf_tokenizer(tmp_path)


def test_a_tokenizer_that_is_nowhere_is_an_error_with_a_way_out():
    with pytest.raises(ValueError, match=r"no tokenizer can be read from 'no-such/tokenizer'.*BertVocab"):
        hf_tokenizer("no-such/tokenizer")


def test_the_published_clean_up_of_questions_keeps_signs_of_people_and_line_ends():
    raw = "Is <person>\nleft-handed? \n"
    assert clean_question(raw) == "is person\nleft handed"
    assert clean_question(raw, published=True) == "is <person>\nleft handed  \n"


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff \u2060"])
def test_what_shows_nothing_is_blank(text):
    assert is_blank(text) and not is_blank(text + "a")
