"""Each score against its formula, written out; and against the COCO evaluation's own code, where that is installed."""

import random
from itertools import combinations
from math import exp, log, sqrt

import pytest

from x2vlm.evaluation.metrics.ngrams import bleu, caption_words, cider_d, longest_common, rouge_l

WORDS = "a b c d e f".split()  # noqa: SIM905


def corpus(seed=0, count=8):
    rng = random.Random(seed)

    def sentence():
        return [rng.choice(WORDS) for _ in range(rng.randint(3, 9))]

    references = [[sentence() for _ in range(rng.randint(1, 4))] for _ in range(count)]
    candidates = [[word for word in rng.choice(known) if rng.random() < 0.8] or ["a"] for known in references]
    return candidates, references


@pytest.mark.parametrize(
    ("sentence", "words"),
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
def test_a_sentence_is_cut_into_words_as_the_published_evaluation_does(sentence, words):
    assert caption_words(sentence) == words.split()


def test_bleu_of_a_known_example():
    # "the" counts twice at most, as often as the first reference has it (Papineni et al., 2002, Sec. 2.1).
    references = [[["the", "cat", "is", "on", "the", "mat"], ["there", "is", "a", "cat", "on", "the", "mat"]]]
    assert bleu([["the"] * 7], references)[0] == pytest.approx(2 / 7)


def test_bleu_is_its_formula_written_out():
    candidates, references = corpus()
    length = sum(map(len, candidates))
    closest = sum(
        min((len(words) for words in known), key=lambda n: (abs(n - len(one)), n))
        for one, known in zip(candidates, references, strict=True)
    )
    product = 1.0
    for n in range(1, 5):
        right = total = 0
        for one, known in zip(candidates, references, strict=True):
            runs = [tuple(one[i : i + n]) for i in range(len(one) - n + 1)]
            total += len(runs)
            for run in set(runs):
                most = max(sum(tuple(w[i : i + n]) == run for i in range(len(w) - n + 1)) for w in known)
                right += min(runs.count(run), most)
        product *= right / total
        expected = product ** (1 / n) * min(1.0, exp(1 - closest / length))
        assert bleu(candidates, references)[n - 1] == pytest.approx(expected)


def test_rouge_l_is_its_formula_written_out():
    def common(first, second):
        return max(n for n in range(len(first) + 1) for part in combinations(first, n) if subsequence(part, second))

    def subsequence(part, words):
        rest = iter(words)
        return all(word in rest for word in part)

    for candidate, known in zip(*corpus(seed=3), strict=True):
        lengths = [common(candidate, words) for words in known]
        assert lengths == [longest_common(candidate, words) for words in known]
        precision = max(lengths) / len(candidate)
        recall = max(n / len(words) for n, words in zip(lengths, known, strict=True))
        expected = 2.44 * precision * recall / (recall + 1.44 * precision)
        assert rouge_l(candidate, known) == pytest.approx(expected)


def test_cider_d_is_its_formula_written_out():
    candidates, references = corpus(seed=1)

    def runs(words, n):
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    def idf(run):
        having = sum(any(run in runs(words, len(run)) for words in known) for known in references)
        return log(len(references)) - log(max(1, having))

    def vector(words, n):
        return {run: runs(words, n).count(run) * idf(run) for run in set(runs(words, n))}

    for candidate, known, score in zip(candidates, references, cider_d(candidates, references), strict=True):
        expected = 0.0
        for words in known:
            for n in range(1, 5):
                own, other = vector(candidate, n), vector(words, n)
                norms = sqrt(sum(x * x for x in own.values())) * sqrt(sum(x * x for x in other.values()))
                product = sum(min(own[run], other[run]) * other[run] for run in own.keys() & other.keys())
                gauss = exp(-((len(candidate) - len(words)) ** 2) / 72)
                expected += 10 * gauss * (product / norms if norms else 0) / 4 / len(known)
        assert score == pytest.approx(expected)


def test_copying_the_only_reference_is_perfect():
    references = [[["a", "b", "c", "d", "e"]], [["f", "g", "h", "i"]]]
    candidates = [known[0] for known in references]
    assert bleu(candidates, references) == pytest.approx([1.0] * 4)
    assert [rouge_l(*pair) for pair in zip(candidates, references, strict=True)] == pytest.approx([1.0, 1.0])
    assert cider_d(candidates, references) == pytest.approx([10.0, 10.0])


def test_an_empty_candidate_scores_nothing():
    assert rouge_l([], [["a"]]) == 0
    assert cider_d([[], ["a"]], [[["a"]], [["b"]]])[0] == 0
    assert bleu([[]], [[["a"]]]) == pytest.approx([0] * 4)


def test_scores_are_those_of_the_coco_evaluation():
    pytest.importorskip("pycocoevalcap", reason="needs the package pycocoevalcap")
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge

    candidates, references = corpus(seed=2, count=40)
    known = {i: [" ".join(words) for words in some] for i, some in enumerate(references)}
    made = {i: [" ".join(words)] for i, words in enumerate(candidates)}
    assert bleu(candidates, references) == pytest.approx(Bleu(4).compute_score(known, made, verbose=0)[0])
    assert cider_d(candidates, references) == pytest.approx(list(Cider().compute_score(known, made)[1]))
    mean = sum(rouge_l(*pair) for pair in zip(candidates, references, strict=True)) / 40
    assert mean == pytest.approx(Rouge().compute_score(known, made)[0])
