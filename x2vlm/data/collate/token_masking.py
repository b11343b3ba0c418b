"""Token masking for masked language modelling: which tokens are predicted, and what replaces them in the input."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from x2vlm.data.options import from_options

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

REPLACE_SHARE = 0.8
"""Share of the chosen tokens that become [MASK]; half of the others become a random vocabulary entry, the rest stay."""


@dataclass(frozen=True)
class Masking:
    """How much of a text is masked: single tokens, whole words, or spans.

    Args:
        prob: Share of the tokens to predict; [CLS] and [SEP] count towards the length.
        max_masks: Most tokens to predict.
        whole_word: Mask all word pieces of a word together. (Published: with BERT-uncased only.)
        span_prob: How often a span of tokens is masked instead of one.
        max_span: A span has 2 to ``max_span`` tokens.
        prompt_tokens: So many tokens after [CLS] belong to the prompt: neither masked nor counted.

    Raises:
        ValueError: If a number has no meaning.
    """

    prob: float = 0.5
    max_masks: int = 12
    whole_word: bool = True
    span_prob: float = 0.2
    max_span: int = 3
    prompt_tokens: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.prob <= 1:
            raise ValueError(f"masking.prob is {self.prob}; expected a share above 0 and at most 1")
        if self.max_masks < 1:
            raise ValueError(f"masking.max_masks is {self.max_masks}; expected 1 or more. No masking: masking=None")
        if not 0 <= self.span_prob <= 1:
            raise ValueError(f"masking.span_prob is {self.span_prob}; expected a share from 0 to 1")
        if self.max_span < 2:
            raise ValueError(f"masking.max_span is {self.max_span}; expected 2 or more. No spans: span_prob=0")
        if self.prompt_tokens < 0:
            raise ValueError(f"masking.prompt_tokens is {self.prompt_tokens}; expected 0 or more")

    @classmethod
    def of(cls, options: "dict | Masking") -> "Masking":
        """Masking as a config gives it.

        Raises:
            ValueError: If an option has no such name or a number has no meaning.
        """
        return from_options(cls, options, "masking")


class MaskedTokens(NamedTuple):
    """One text after masking: its ids, the ``M`` positions to predict (ascending), and the true ids there."""

    ids: list[int]
    positions: list[int]
    labels: list[int]


def choose_positions(
    length: int, masking: Masking, continues: Sequence[bool], rng: random.Random = random
) -> list[int]:
    """The positions to predict.

    ``n = round(prob * length)`` (half to even), at least 1 and at most ``max_masks``. Every token but [CLS] and the
    prompt can be chosen, [SEP] too. They are visited in random order until ``n`` are marked; whole words and spans may
    mark more, then a random ``n`` of them stay.

    Args:
        length: Number of tokens with [CLS] and [SEP], without padding.
        masking: How much is masked, and in what units.
        continues: ``length`` flags, True where a token continues the word of the token before it.
        rng: A ``random.Random``, or the module ``random`` for the global generator.

    Returns:
        ``n`` positions, ascending; fewer only where the text has fewer that can be chosen.
    """
    first = 1 + masking.prompt_tokens
    count = min(masking.max_masks, max(1, round((length - masking.prompt_tokens) * masking.prob)))
    candidates = list(range(first, length))
    rng.shuffle(candidates)
    marked: set[int] = set()
    for start in candidates:
        if len(marked) >= count:
            break
        if start in marked:
            continue
        stop = start + (rng.randint(2, masking.max_span) if rng.random() < masking.span_prob else 1)
        if masking.whole_word:
            start, stop = _extend_to_whole_words(start, stop, first, continues)
        marked.update(range(start, min(stop, length)))
    return sorted(marked if len(marked) <= count else rng.sample(sorted(marked), count))


def _extend_to_whole_words(start: int, stop: int, first: int, continues: Sequence[bool]) -> tuple[int, int]:
    while start > first and continues[start]:
        start -= 1
    while stop < len(continues) and continues[stop]:
        stop += 1
    return start, stop


def mask_tokens(
    ids: Sequence[int],
    masking: Masking,
    continues: Sequence[bool],
    mask_id: int,
    vocab_size: int,
    rng: random.Random = random,
) -> MaskedTokens:
    """Mask one text.

    Args:
        ids: Its token ids with [CLS] and [SEP], without padding.
        masking: How much is masked, and in what units.
        continues: As long as ``ids``, True where a token continues the word of the token before it.
        mask_id: The id of [MASK].
        vocab_size: A random replacement is any id below this, special tokens included.
        rng: A ``random.Random``, or the module ``random`` for the global generator.
    """
    masked = list(ids)
    positions = choose_positions(len(masked), masking, continues, rng)
    labels = [masked[position] for position in positions]
    for position in positions:
        if rng.random() < REPLACE_SHARE:
            masked[position] = mask_id
        elif rng.random() < 0.5:
            masked[position] = rng.randrange(vocab_size)
    return MaskedTokens(masked, positions, labels)


class TokenMasker:
    """Token masking for one tokenizer.

    Args:
        tokenizer: Its [MASK], its vocabulary, and which word pieces continue a word are used.
        masking: How much is masked, and in what units.

    Raises:
        ValueError: If the tokenizer has no mask token.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", masking: Masking) -> None:
        if tokenizer.mask_token_id is None:
            raise ValueError("the tokenizer has no mask token, so it cannot mask. Use another one, or masking=None.")
        self.masking = masking
        self.mask_id, self.vocab_size = tokenizer.mask_token_id, len(tokenizer)
        self._continues = subword_continuations(tokenizer)  # [vocab_size] bool

    def __call__(self, texts: Sequence[Sequence[int]], rng: random.Random = random) -> list[MaskedTokens]:
        """Mask each of ``texts``: token ids with [CLS] and [SEP], without padding."""
        return [
            mask_tokens(ids, self.masking, self._continues[ids].tolist(), self.mask_id, self.vocab_size, rng)
            for ids in texts
        ]


def subword_continuations(tokenizer: "PreTrainedTokenizerBase") -> np.ndarray:
    """Which entries of a vocabulary continue a word: ``[vocab_size]`` bool.

    WordPiece marks the pieces that continue with ``##``; sentencepiece marks those that start a word with ``▁``,
    byte-level BPE with ``Ġ``. The most frequent mark of the vocabulary is used; without any, every token is a word.
    """
    vocabulary = tokenizer.get_vocab()
    marks = {mark: sum(token.startswith(mark) for token in vocabulary) for mark in ("##", "▁", "Ġ")}
    mark = max(marks, key=marks.get)
    continues = np.zeros(max(len(tokenizer), *vocabulary.values()) + 1, dtype=bool)  # ids may have gaps
    if not marks[mark]:
        return continues
    for token, index in vocabulary.items():
        continues[index] = token.startswith(mark) == (mark == "##")
    continues[tokenizer.all_special_ids] = False
    return continues
