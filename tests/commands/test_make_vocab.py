import json

import pytest

from x2vlm.building import ConfigError
from x2vlm.commands.make_vocab import main, read_texts, vocabulary
from x2vlm.data.tokenizer import bert_vocab

TEXTS = ["A dog runs.", "a Dog sleeps", "zwei Hunde", "\u4e00\u53ea\u72d7"]


def test_frequent_words_come_whole_and_rare_ones_in_characters():
    pieces = vocabulary(TEXTS, size=80)
    tokenizer = bert_vocab(pieces)
    assert tokenizer.tokenize("a dog") == ["a", "dog"]
    assert tokenizer.unk_token not in tokenizer.tokenize("a gun slow hund \u72d7")


def test_the_same_texts_in_another_order_give_the_same_pieces():
    assert vocabulary(TEXTS, 80) == vocabulary(TEXTS[::-1], 80)


def test_a_size_that_does_not_hold_the_characters_is_refused():
    with pytest.raises(ConfigError, match="--size 9 is too small"):
        vocabulary(TEXTS, 9)


def test_json_lines_give_texts_and_lists_of_texts(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in (dict(captions=["x", "y"]), dict(text="z"), dict(other=1))))
    assert list(read_texts(file, ["captions", "text"])) == ["x", "y", "z"]


@pytest.mark.parametrize(("suffix", "mark"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
def test_of_a_table_the_captions_and_phrases_alone_are_read(tmp_path, suffix, mark):
    captions, boxes = tmp_path / f"captions.{suffix}", tmp_path / f"boxes.{suffix}"
    captions.write_text(f'\ufefffile{mark}caption\n0017.jpg{mark}"A dog{mark} running"\n0017.jpg\n')
    boxes.write_text(f"file{mark}phrase{mark}x\n0017.jpg{mark}a dog{mark}318\n")
    assert list(read_texts(captions, [])) == [f"A dog{mark} running"]
    assert list(read_texts(boxes, [])) == ["a dog"]
    assert list(read_texts(boxes, ["x", "other"])) == ["318"]
    with pytest.raises(ConfigError, match="has no column Title; its first line has: file, phrase, x"):
        list(read_texts(boxes, ["Title"]))


def test_a_table_without_such_columns_is_text(tmp_path):
    (tmp_path / "a.csv").write_text("A dog, running\n")
    assert list(read_texts(tmp_path / "a.csv", [])) == ["A dog, running\n"]


def test_a_table_of_headings_alone_gives_no_text_and_a_broken_one_is_told(tmp_path):
    (tmp_path / "a.csv").write_text("file,caption\n")
    assert list(read_texts(tmp_path / "a.csv", [])) == []
    (tmp_path / "b.csv").write_text('file,caption\n1.jpg,"' + "x" * 200_000 + '"\n')
    with pytest.raises(ConfigError, match=r"b\.csv is no table"):
        list(read_texts(tmp_path / "b.csv", []))


def test_a_broken_line_is_named(tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_text('{"text": "x"}\n[1]\n')
    with pytest.raises(ConfigError, match=r"a\.jsonl:2: expected a JSON object"):
        list(read_texts(file, ["text"]))


def test_a_vocabulary_that_exists_is_not_overwritten(tmp_path):
    texts, out = tmp_path / "a.txt", tmp_path / "vocab.txt"
    texts.write_text("\n".join(TEXTS))
    assert main([str(out), str(texts), "--size", "80"]) == 0
    before = out.read_text()
    with pytest.raises(ConfigError, match="exists"):
        main([str(out), str(texts), "--size", "90"])
    assert out.read_text() == before


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", ["--key", "text"], r"there is no word in the files, or none under the names of --key"),
        (b'{"text": "a dog"}', ["--key", "texd"], r"there is no word in the files, or none under the names of --key"),
        (b'{"text": "a dog"}', [], r"a\.jsonl holds JSON: name the keys that hold its texts, e\.g\. --key caption"),
        (b'{"text": 3}', ["--key", "text"], r"a\.jsonl:1: text is 3; expected a text or a list of texts"),
        (b'{"text": {"en": "x"}}', ["--key", "text"], r"a\.jsonl:1: text is .*; expected a text or a list of texts"),
        (b"PAR1\xff\x00", ["--key", "text"], r"a\.jsonl is not a UTF-8 text file"),
    ],
)
def test_what_holds_no_texts_is_told_and_nothing_is_written(tmp_path, content, options, message):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        main([str(tmp_path / "vocab.txt"), str(tmp_path / "a.jsonl"), *options])
    assert not (tmp_path / "vocab.txt").exists()
