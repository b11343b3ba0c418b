"""Exact match with references, and the majority baseline: always predicting the most frequent reference."""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import TypeVar

Text = TypeVar("Text", str, list[str])


def exact_match(prediction: Text, references: Collection[Text]) -> float:
    """1 if a text (or list of tokens) equals one of the references, else 0. Nothing is normalised."""
    return float(prediction in references)


def most_frequent(texts: Iterable[str]) -> str:
    """The text that occurs most often; of equally frequent ones the first in alphabetical order."""
    counts = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text))
