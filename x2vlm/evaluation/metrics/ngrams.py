"""BLEU, ROUGE-L and CIDEr-D of generated captions against references, without Java.

Sentences are lists of tokens (:func:`caption_tokens`); a candidate has one or more references. All metrics are 0..1,
except CIDEr-D, which reaches 10. They equal those of the COCO caption evaluation (arXiv:1504.00325) for the same
tokens.
"""

import re
from collections import Counter
from collections.abc import Sequence
from html import unescape
from math import exp, log, sqrt

Tokens = Sequence[str]
Ngrams = Counter[tuple[str, ...]]

_CLITICS = re.compile(r"(?<=\w)(n't|'s|'m|'d|'re|'ve|'ll|')(?!\w)")
_CONTRACTED = re.compile(r"\b(can(?=not\b)|gon(?=na\b)|got(?=ta\b)|wan(?=na\b)|gim(?=me\b)|lem(?=me\b))")
_TOKEN = re.compile(
    r"n't(?!\w)|'(?:s|m|d|re|ve|ll)(?!\w)|-[lr][rcs]b-"
    r"|\d+(?:[.,:/]\d+)*|(?:[a-z]\.){2,}|\w+(?:[-/&.]\w+)*|[^\w\s]"
)
# Brackets stay as the tokens that the Java tokenizer makes of them: the published evaluation is meant to remove them,
# but compares upper-case names with lower-case sentences.
_BRACKETS = {
    ord(sign): f" -{name}- " for sign, name in zip("()[]{}", ("lrb", "rrb", "lsb", "rsb", "lcb", "rcb"), strict=True)
}
_REMOVED = frozenset(".?!,:;-'`\"\u2026\u2013\u2014\u201c\u201d\u2018\u2019\u00ab\u00bb")
_TINY, _SMALL = 1e-15, 1e-9


def caption_tokens(sentence: str) -> list[str]:
    """Tokenize a caption: lower case, no punctuation (brackets stay), clitics separate (``don't`` is ``do n't``).

    Follows the Penn Treebank tokenizer of the COCO caption evaluation, which runs in Java.
    """
    text = re.sub("[\u2018\u2019`]", "'", unescape(sentence).lower()).translate(_BRACKETS)
    text = _CONTRACTED.sub(r"\1 ", _CLITICS.sub(r" \1 ", text))
    return [token for token in _TOKEN.findall(text) if token not in _REMOVED]


def bleu(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]], max_n: int = 4) -> list[float]:
    """Corpus BLEU (Papineni et al., 2002) with n-grams of up to 1, 2, ... ``max_n`` tokens.

    Matches are clipped by the reference that has most of them; the brevity penalty takes for each candidate the
    reference closest in length (the shorter of two), and sums lengths over the corpus.
    """
    matches, totals = [0] * max_n, [0] * max_n
    length = reference_length = 0
    for candidate, texts in zip(candidates, references, strict=True):
        length += len(candidate)
        reference_length += min((abs(len(tokens) - len(candidate)), len(tokens)) for tokens in texts)[1]
        for n in range(max_n):
            counts, clip = ngrams(candidate, n + 1), Counter()
            for tokens in texts:
                clip |= ngrams(tokens, n + 1)
            matches[n] += (counts & clip).total()
            totals[n] += counts.total()
    ratio = (length + _TINY) / (reference_length + _SMALL)
    brevity = 1.0 if ratio >= 1 else exp(1 - 1 / ratio)
    scores, product = [], 1.0
    for n in range(max_n):
        product *= (matches[n] + _TINY) / (totals[n] + _SMALL)
        scores.append(brevity * product ** (1 / (n + 1)))
    return scores


def rouge_l(candidate: Tokens, references: Sequence[Tokens], beta: float = 1.2) -> float:
    """ROUGE-L (Lin, 2004): F measure of the longest common subsequence, of the best precision and the best recall."""
    if not candidate:
        return 0.0
    common = [longest_common_subsequence(candidate, tokens) for tokens in references]
    precision = max(common) / len(candidate)
    recall = max(length / len(tokens) if tokens else 0.0 for length, tokens in zip(common, references, strict=True))
    if not precision or not recall:
        return 0.0
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def cider_d(
    candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]], max_n: int = 4, sigma: float = 6.0
) -> list[float]:
    """CIDEr-D (arXiv:1411.5726) of each candidate, 0..10; the metric of the corpus is their mean.

    n-grams of 1 to ``max_n`` tokens are weighted by TF-IDF, the document of an image being all of its references;
    counts of a candidate are clipped to those of the reference, and a difference of length is penalised.
    """
    document_frequency: Ngrams = Counter()
    for texts in references:
        document_frequency.update({gram for tokens in texts for n in range(max_n) for gram in ngrams(tokens, n + 1)})
    log_documents = log(len(references)) if references else 0.0

    def tf_idf(tokens: Tokens) -> list[dict[tuple[str, ...], float]]:
        return [
            {
                gram: count * (log_documents - log(max(1, document_frequency[gram])))
                for gram, count in ngrams(tokens, n + 1).items()
            }
            for n in range(max_n)
        ]

    scores = []
    for candidate, texts in zip(candidates, references, strict=True):
        weights, score = tf_idf(candidate), 0.0
        for tokens in texts:
            similarity = sum(_clipped_cosine(*pair) for pair in zip(weights, tf_idf(tokens), strict=True)) / max_n
            score += similarity * exp(-((len(candidate) - len(tokens)) ** 2) / (2 * sigma**2))
        scores.append(10 * score / len(texts))
    return scores


def ngrams(tokens: Tokens, n: int) -> Ngrams:
    """Count of each n-gram."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for token in first:
        previous = row[:]
        for j, other in enumerate(second):
            row[j + 1] = previous[j] + 1 if token == other else max(previous[j + 1], row[j])
    return row[-1]


def _clipped_cosine(candidate: dict, reference: dict) -> float:
    norms = sqrt(sum(x * x for x in candidate.values())) * sqrt(sum(x * x for x in reference.values()))
    product = sum(min(x, reference[gram]) * reference[gram] for gram, x in candidate.items() if gram in reference)
    return product / norms if norms else 0.0
