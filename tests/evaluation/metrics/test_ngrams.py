"""Caption metrics against their formulas, and against the code of the COCO evaluation if that is installed."""

import random
from itertools import combinations
from math import exp, log, sqrt

import pytest

from x2vlm.evaluation.metrics.ngrams import bleu, caption_tokens, cider_d, longest_common_subsequence, rouge_l

VOCABULARY = "a b c d e f".split()  # noqa: SIM905


def corpus(seed=0, count=8):
    rng = random.Random(seed)

    def sentence():
        return [rng.choice(VOCABULARY) for _ in range(rng.randint(3, 9))]

    references = [[sentence() for _ in range(rng.randint(1, 4))] for _ in range(count)]
    candidates = [[word for word in rng.choice(texts) if rng.random() < 0.8] or ["a"] for texts in references]
    return candidates, references


@pytest.mark.parametrize(
    ("sentence", "tokens"),
    [
        ("A Dog, running!", "a dog running"),
        ("The dog's bone isn't big.", "the dog 's bone is n't big"),
        ("the kids\u2019 t-shirts", "the kids t-shirts"),
        ("It's 10:30, 50% off; 3.5 m...", "it 's 10:30 50 % off 3.5 m"),
        ("one (two) three", "one -lrb- two -rrb- three"),
        ('stone &amp; "tile" of the U.S. - cannot', "stone & tile of the u.s. can not"),
        ("", ""),
    ],
)
def test_sentences_are_tokenized_as_in_the_published_evaluation(sentence, tokens):
    assert caption_tokens(sentence) == tokens.split()


def test_bleu_of_a_published_example():
    # "the" counts twice at most, as often as the first reference has it (Papineni et al., 2002, Sec. 2.1).
    references = [[["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]]
    assert bleu([["the"] * 7], references)[0] == pytest.approx(2 / 7)


def test_bleu_equals_its_formula():
    candidates, references = corpus()
    length = sum(map(len, candidates))
    closest = sum(
        min((len(tokens) for tokens in texts), key=lambda n: (abs(n - len(candidate)), n))
        for candidate, texts in zip(candidates, references, strict=True)
    )
    product = 1.0
    for n in range(1, 5):
        matches = total = 0
        for candidate, texts in zip(candidates, references, strict=True):
            grams = [tuple(candidate[i : i + n]) for i in range(len(candidate) - n + 1)]
            total += len(grams)
            for gram in set(grams):
                clip = max(sum(tuple(t[i : i + n]) == gram for i in range(len(t) - n + 1)) for t in texts)
                matches += min(grams.count(gram), clip)
        product *= matches / total
        expected = product ** (1 / n) * min(1.0, exp(1 - closest / length))
        assert bleu(candidates, references)[n - 1] == pytest.approx(expected)


def test_rouge_l_equals_its_formula():
    def common(first, second):
        return max(n for n in range(len(first) + 1) for part in combinations(first, n) if subsequence(part, second))

    def subsequence(part, tokens):
        rest = iter(tokens)
        return all(token in rest for token in part)

    for candidate, texts in zip(*corpus(seed=3), strict=True):
        lengths = [common(candidate, tokens) for tokens in texts]
        assert lengths == [longest_common_subsequence(candidate, tokens) for tokens in texts]
        precision = max(lengths) / len(candidate)
        recall = max(n / len(tokens) for n, tokens in zip(lengths, texts, strict=True))
        expected = 2.44 * precision * recall / (recall + 1.44 * precision)
        assert rouge_l(candidate, texts) == pytest.approx(expected)


def test_cider_d_equals_its_formula():
    candidates, references = corpus(seed=1)

    def ngrams(tokens, n):
        return [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]

    def idf(gram):
        frequency = sum(any(gram in ngrams(tokens, len(gram)) for tokens in texts) for texts in references)
        return log(len(references)) - log(max(1, frequency))

    def vector(tokens, n):
        return {gram: ngrams(tokens, n).count(gram) * idf(gram) for gram in set(ngrams(tokens, n))}

    for candidate, texts, score in zip(candidates, references, cider_d(candidates, references), strict=True):
        expected = 0.0
        for tokens in texts:
            for n in range(1, 5):
                ours, theirs = vector(candidate, n), vector(tokens, n)
                norms = sqrt(sum(x * x for x in ours.values())) * sqrt(sum(x * x for x in theirs.values()))
                product = sum(min(ours[gram], theirs[gram]) * theirs[gram] for gram in ours.keys() & theirs.keys())
                gauss = exp(-((len(candidate) - len(tokens)) ** 2) / 72)
                expected += 10 * gauss * (product / norms if norms else 0) / 4 / len(texts)
        assert score == pytest.approx(expected)


def test_copying_the_only_reference_is_perfect():
    references = [[["a", "b", "c", "d", "e"]], [["f", "g", "h", "i"]]]
    candidates = [texts[0] for texts in references]
    assert bleu(candidates, references) == pytest.approx([1.0] * 4)
    assert [rouge_l(*pair) for pair in zip(candidates, references, strict=True)] == pytest.approx([1.0, 1.0])
    assert cider_d(candidates, references) == pytest.approx([10.0, 10.0])


def test_an_empty_candidate_scores_nothing():
    assert rouge_l([], [["a"]]) == 0
    assert cider_d([[], ["a"]], [[["a"]], [["b"]]])[0] == 0
    assert bleu([[]], [[["a"]]]) == pytest.approx([0] * 4)


def test_metrics_equal_those_of_the_coco_evaluation():
    pytest.importorskip("pycocoevalcap", reason="needs the package pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidates, references = corpus(seed=2, count=40)
    truth = {i: [" ".join(tokens) for tokens in texts] for i, texts in enumerate(references)}
    generated = {i: [" ".join(tokens)] for i, tokens in enumerate(candidates)}
    assert bleu(candidates, references) == pytest.approx(Bleu(4).compute_score(truth, generated, verbose=0)[0])
    assert cider_d(candidates, references) == pytest.approx(list(Cider().compute_score(truth, generated)[1]))
    mean = sum(rouge_l(*pair) for pair in zip(candidates, references, strict=True)) / 40
    assert mean == pytest.approx(Rouge().compute_score(truth, generated)[0])
