"""CIDEr-D of captions, and the tokens it counts: for the metric, and for training on it.

Sentences are lists of tokens (:func:`caption_tokens`); a candidate has one or more references.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from math import exp, log, sqrt
from os import PathLike
from pathlib import Path

Tokens = Sequence[str]
Ngrams = Counter[tuple[str, ...]]
MAX_N = 4  # tokens of the longest n-grams

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


def caption_tokens(sentence: str) -> list[str]:
    """Tokenize a caption: lower case, no punctuation (brackets stay), clitics separate (``don't`` is ``do n't``).

    Follows the Penn Treebank tokenizer of the COCO caption evaluation, which runs in Java.
    """
    text = re.sub("[\u2018\u2019`]", "'", unescape(sentence).lower()).translate(_BRACKETS)
    text = _CONTRACTED.sub(r"\1 ", _CLITICS.sub(r" \1 ", text))
    return [token for token in _TOKEN.findall(text) if token not in _REMOVED]


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many documents an n-gram occurs; the document of an image are all of its references.

    Attributes:
        counts: By n-gram; one that is missing counts as 1.
        documents: Number of documents.
    """

    counts: Ngrams
    documents: int

    @classmethod
    def of(cls, references: Iterable[Sequence[Tokens]], max_n: int = MAX_N) -> "DocumentFrequencies":
        """Count the references of images."""
        counts: Ngrams = Counter()
        documents = 0
        for texts in references:
            counts.update({gram for tokens in texts for n in range(max_n) for gram in ngrams(tokens, n + 1)})
            documents += 1
        return cls(counts, documents)

    def to_json(self) -> str:
        """As text; n-grams of a single document, which weigh as if they were missing, are left out."""
        counts = {" ".join(gram): count for gram, count in self.counts.items() if count > 1}
        return json.dumps({"documents": self.documents, "counts": counts}, ensure_ascii=False)

    @classmethod
    def read(cls, path: str | PathLike) -> "DocumentFrequencies":
        """Read what :meth:`to_json` gives from a file.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds anything else.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(
                f"there is no file {path} with document frequencies. `x2vlm caption-frequencies` writes it."
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            counts = Counter({tuple(gram.split(" ")): int(count) for gram, count in content["counts"].items()})
            return cls(counts, int(content["documents"]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path} holds no document frequencies ({type(error).__name__}: {error}); expected "
                '{"documents": number, "counts": {n-gram: number}}, as `x2vlm caption-frequencies` writes it.'
            ) from error


def cider_d(
    candidates: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    max_n: int = MAX_N,
    sigma: float = 6.0,
    frequencies: DocumentFrequencies | None = None,
) -> list[float]:
    """CIDEr-D (arXiv:1411.5726) of each candidate, 0..10; the metric of the corpus is their mean.

    n-grams of 1 to ``max_n`` tokens are weighted by TF-IDF, the document of an image being all of its references;
    counts of a candidate are clipped to those of the reference, and a difference of length is penalised.

    Args:
        candidates: ``B`` captions.
        references: The references of each.
        max_n: Tokens of the longest n-grams.
        sigma: Tokens of difference in length that are penalised little.
        frequencies: Document frequencies; by default those of these references.
    """
    frequencies = DocumentFrequencies.of(references, max_n) if frequencies is None else frequencies
    log_documents = log(frequencies.documents) if frequencies.documents else 0.0

    def tf_idf(tokens: Tokens) -> Iterator[dict[tuple[str, ...], float]]:
        return (
            {
                gram: count * (log_documents - log(max(1, frequencies.counts[gram])))
                for gram, count in ngrams(tokens, n + 1).items()
            }
            for n in range(max_n)
        )

    scores = []
    for candidate, texts in zip(candidates, references, strict=True):
        weights, score = list(tf_idf(candidate)), 0.0
        for tokens in texts:
            similarity = sum(_clipped_cosine(*pair) for pair in zip(weights, tf_idf(tokens), strict=True)) / max_n
            score += similarity * exp(-((len(candidate) - len(tokens)) ** 2) / (2 * sigma**2))
        scores.append(10 * score / len(texts))
    return scores


def ngrams(tokens: Tokens, n: int) -> Ngrams:
    """Count of each n-gram."""
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))


def _clipped_cosine(candidate: dict, reference: dict) -> float:
    norms = sqrt(sum(x * x for x in candidate.values())) * sqrt(sum(x * x for x in reference.values()))
    product = sum(min(x, reference[gram]) * reference[gram] for gram, x in candidate.items() if gram in reference)
    return product / norms if norms else 0.0
