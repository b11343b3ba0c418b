"""BLEU and ROUGE-L of generated captions against references, without Java; with CIDEr-D, all of :mod:`x2vlm.cider`.

Sentences are lists of tokens (:func:`~x2vlm.cider.caption_tokens`); a candidate has one or more references. All metrics
are 0..1, except CIDEr-D, which reaches 10. They equal those of the COCO caption evaluation (arXiv:1504.00325) for the
same tokens.
"""

from collections import Counter
from collections.abc import Sequence
from math import exp

from x2vlm.cider import Tokens, caption_tokens, cider_d, ngrams

__all__ = ["bleu", "caption_tokens", "cider_d", "longest_common_subsequence", "ngrams", "rouge_l"]

_TINY, _SMALL = 1e-15, 1e-9


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


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(second) + 1)
    for token in first:
        previous = row[:]
        for j, other in enumerate(second):
            row[j + 1] = previous[j] + 1 if token == other else max(previous[j + 1], row[j])
    return row[-1]
