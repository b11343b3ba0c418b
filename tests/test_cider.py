"""CIDEr-D with document frequencies of its own references, or of a training set."""

import pytest

from x2vlm.cider import DocumentFrequencies, caption_tokens, cider_d

REFERENCES = [
    [["a", "red", "dog"], ["the", "red", "dog", "runs"]],
    [["a", "cat", "sits"]],
    [["a", "red", "cat", "sits", "here"]],
]
CANDIDATES = [["a", "red", "dog"], ["a", "cat"], ["red", "cat", "sits"]]


def test_frequencies_of_the_references_are_the_default():
    given = cider_d(CANDIDATES, REFERENCES, frequencies=DocumentFrequencies.of(REFERENCES))
    assert given == cider_d(CANDIDATES, REFERENCES)


def test_an_n_gram_counts_once_for_each_image_however_often_its_references_have_it():
    frequencies = DocumentFrequencies.of(REFERENCES)
    assert frequencies.documents == 3
    assert (frequencies.counts[("red",)], frequencies.counts[("red", "dog")]) == (2, 1)


def test_a_score_depends_on_the_frequencies_and_not_on_the_other_captions():
    frequencies = DocumentFrequencies.of(REFERENCES)
    alone = [cider_d([c], [r], frequencies=frequencies)[0] for c, r in zip(CANDIDATES, REFERENCES, strict=True)]
    assert alone == cider_d(CANDIDATES, REFERENCES)
    rare = DocumentFrequencies.of([*REFERENCES, *[[["something", "else"]]] * 7])
    assert cider_d(CANDIDATES, REFERENCES, frequencies=rare) != pytest.approx(alone)


def test_a_file_gives_the_same_scores_without_n_grams_of_a_single_image(tmp_path):
    frequencies = DocumentFrequencies.of(REFERENCES)
    (tmp_path / "f.json").write_text(frequencies.to_json())
    read = DocumentFrequencies.read(tmp_path / "f.json")
    assert len(read.counts) < len(frequencies.counts)
    assert cider_d(CANDIDATES, REFERENCES, frequencies=read) == cider_d(CANDIDATES, REFERENCES)


def test_a_file_of_something_else_is_told(tmp_path):
    (tmp_path / "f.json").write_text('{"counts": 3}')
    with pytest.raises(ValueError, match=r"f\.json holds no document frequencies .*caption-frequencies"):
        DocumentFrequencies.read(tmp_path / "f.json")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.json.*caption-frequencies"):
        DocumentFrequencies.read(tmp_path / "nowhere.json")


def test_tokens_are_those_of_the_metric():
    from x2vlm.evaluation.metrics import ngrams

    assert ngrams.caption_tokens is caption_tokens
    assert ngrams.cider_d is cider_d
