"""Exact match, and the most frequent reference."""

from x2vlm.evaluation.metrics.exact_match import exact_match, most_frequent


def test_a_text_or_its_tokens_match_one_of_the_references():
    assert exact_match("a dog", ["a cat", "a dog"]) == 1
    assert exact_match(["a", "dog"], [["a", "cat"]]) == 0


def test_of_equally_frequent_texts_the_first_in_the_alphabet_is_taken():
    assert most_frequent(["no", "yes", "no", "yes", "a"]) == "no"
