import json

import pytest

from x2vlm.building import ConfigError, build
from x2vlm.data.tokenizer import SPECIAL_TOKENS, bert_vocab, hf_tokenizer, tokenize
from x2vlm.registry import TOKENIZERS

WORDS = ("a", "red", "dog", "play", "##ing", "##s", "mat")


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


@pytest.mark.parametrize("own", [True, False])
def test_the_tokenizer_of_a_model_folder_comes_without_a_warning_of_its_model(tmp_path, own):
    from transformers.utils import logging

    bert_vocab(WORDS).save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"x2vlm" if own else "other": "1.0", "model_type": "x2vlm"}))
    warned = []
    handler = logging.logging.Handler()
    handler.emit = warned.append
    logging.add_handler(handler)
    try:
        assert hf_tokenizer(tmp_path).get_vocab() == bert_vocab(WORDS).get_vocab()
    finally:
        logging.remove_handler(handler)
    assert bool(warned) != own


def test_a_tokenizer_whose_vocabulary_was_not_found_is_refused(tmp_path):
    from transformers import BertTokenizer

    BertTokenizer().save_pretrained(tmp_path)  # no vocabulary, no complaint: five special tokens
    with pytest.raises(ValueError, match="5 tokens, all of them special ones: its vocabulary was not found"):
        hf_tokenizer(tmp_path)


def test_a_tokenizer_that_is_nowhere_is_an_error_with_a_way_out():
    with pytest.raises(ValueError, match=r"no tokenizer can be read from 'no-such/tokenizer'.*BertVocab"):
        hf_tokenizer("no-such/tokenizer")
