"""How much generated sentences have in common with what people wrote: BLEU, ROUGE-L, CIDEr-D, without Java.

Sentences are lists of words (:func:`caption_words`); a candidate has one or more references. All scores are 0..1, but
CIDEr-D, which reaches 10. They are those of the COCO caption evaluation (arXiv:1504.00325) for the same words.
"""

import re
from collections import Counter
from collections.abc import Sequence
from html import unescape
from math import exp, log, sqrt

Words = Sequence[str]
Grams = Counter[tuple[str, ...]]

_CLITICS = re.compile(r"(?<=\w)(n't|'s|'m|'d|'re|'ve|'ll|')(?!\w)")
_TWO_WORDS = re.compile(r"\b(can(?=not\b)|gon(?=na\b)|got(?=ta\b)|wan(?=na\b)|gim(?=me\b)|lem(?=me\b))")
_WORD = re.compile(
    r"n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)|-[lr][rcs]b-"
    r"|\d+(?:[.,:/]\d+)*|(?:[a-z]\.){2,}|\w+(?:[-/&.]\w+)*|[^\w\s]"
)
# Brackets stay as the words that the Java tokenizer makes of them: the published evaluation means to remove them, but
# looks for capitals in sentences that are in lower case.
_BRACKETS = {
    ord(sign): f" -{name}- " for sign, name in zip("()[]{}", ("lrb", "rrb", "lsb", "rsb", "lcb", "rcb"), strict=True)
}
_REMOVED = frozenset(".?!,:;-'`\"\u2026\u2013\u2014\u201c\u201d\u2018\u2019\u00ab\u00bb")
_TINY, _SMALL = 1e-15, 1e-9


def caption_words(sentence: str) -> list[str]:
    """The words of a sentence: lower case, no punctuation (brackets stay), clitics apart (``don't`` is ``do n't``).

    Written after the Penn Treebank tokenizer of the COCO caption evaluation, which runs in Java.
    """
    text = re.sub("[\u2018\u2019`]", "'", unescape(sentence).lower()).translate(_BRACKETS)
    text = _TWO_WORDS.sub(r"\1 ", _CLITICS.sub(r" \1 ", text))
    return [word for word in _WORD.findall(text) if word not in _REMOVED]


def bleu(candidates: Sequence[Words], references: Sequence[Sequence[Words]], most: int = 4) -> list[float]:
    """Corpus BLEU (Papineni et al., 2002) of runs of up to 1, 2, ... ``most`` words.

    Matches are clipped by the reference that has most of them; the brevity penalty takes for each candidate the
    reference closest in length (the shorter of two), and sums lengths over the corpus.
    """
    right, made = [0] * most, [0] * most
    length = reference_length = 0
    for candidate, known in zip(candidates, references, strict=True):
        length += len(candidate)
        reference_length += min((abs(len(words) - len(candidate)), len(words)) for words in known)[1]
        for n in range(most):
            own, best = grams(candidate, n + 1), Counter()
            for words in known:
                best |= grams(words, n + 1)
            right[n] += (own & best).total()
            made[n] += own.total()
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = 1.0 if ratio >= 1 else exp(1 - 1 / ratio)
    scores, product = [], 1.0
    for n in range(most):
        product *= (right[n] + _TINY) / (made[n] + _SMALL)
        scores.append(brevity * product ** (1 / (n + 1)))
    return scores


def rouge_l(candidate: Words, references: Sequence[Words], beta: float = 1.2) -> float:
    """ROUGE-L (Lin, 2004): the F measure of the longest common subsequence, best precision and best recall."""
    if not candidate:
        return 0.0
    common = [longest_common(candidate, words) for words in references]
    precision = max(common) / len(candidate)
    recall = max(length / len(words) if words else 0.0 for length, words in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def cider_d(
    candidates: Sequence[Words], references: Sequence[Sequence[Words]], most: int = 4, sigma: float = 6.0
) -> list[float]:
    """CIDEr-D (arXiv:1411.5726) of each candidate; the corpus's score is their mean.

    Runs of 1 to ``most`` words count by how often they occur and by how few pictures' references have them; counts of a
    candidate are clipped to those of the reference, and a difference of length costs.
    """
    having: Counter[tuple[str, ...]] = Counter()
    for known in references:
        having.update({gram for words in known for n in range(most) for gram in grams(words, n + 1)})
    total = log(len(references)) if references else 0.0

    def weigh(words: Words) -> list[dict[tuple[str, ...], float]]:
        return [
            {gram: count * (total - log(max(1, having[gram]))) for gram, count in grams(words, n + 1).items()}
            for n in range(most)
        ]

    scores = []
    for candidate, known in zip(candidates, references, strict=True):
        own, score = weigh(candidate), 0.0
        for words in known:
            likeness = sum(_clipped_cosine(*pair) for pair in zip(own, weigh(words), strict=True)) / most
            score += likeness * exp(-((len(candidate) - len(words)) ** 2) / (2 * sigma**2))
        scores.append(10 * score / len(known))
    return scores


def grams(words: Words, n: int) -> Grams:
    """How often each run of ``n`` words occurs."""
    return Counter(zip(*(words[i:] for i in range(n)), strict=False))


def longest_common(first: Words, second: Words) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for word in first:
        before = row[:]
        for j, other in enumerate(second):
            row[j + 1] = before[j] + 1 if word == other else max(before[j + 1], row[j])
    return row[-1]


def _clipped_cosine(candidate: dict, reference: dict) -> float:
    norms = sqrt(sum(x * x for x in candidate.values())) * sqrt(sum(x * x for x in reference.values()))
    product = sum(min(x, reference[gram]) * reference[gram] for gram, x in candidate.items() if gram in reference)
    return product / norms if norms else 0.0
