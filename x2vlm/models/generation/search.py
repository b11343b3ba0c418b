"""Interface of searches: a reader that scores the next token, and constraints on it.

A search is independent of the model: a *reader* returns log-probabilities of the next token, and caches what it read.

Shape letters: B texts to write, R rows (partial texts), T tokens so far, V words.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from x2vlm.building import build
from x2vlm.registry import SEARCHES

UNLIKELY = -10000.0


class Reader(Protocol):
    """Scores of the next token."""

    def __call__(self, ids: Tensor, rows: Tensor) -> Tensor:
        """Log-probabilities of the next word.

        Args:
            ids: ``[R, T]``, everything written so far, the start included; longer by one at each call.
            rows: ``[R]``, which row of the call before each of these goes on; at the first call, which text. Rows of
                one text are neighbours, and equally many of each text.

        Returns:
            ``[R, V]``, float.
        """


class GeneratedText(NamedTuple):
    """A text: its tokens after the start, the one that ends it left out, and the score by which it was chosen."""

    ids: list[int]
    score: float


class GenerationLimits(NamedTuple):
    """Constraints on the next token: the minimum length of a text, and the n-gram size that must not repeat."""

    end: int
    min_length: int
    no_repeat: int


Search = Callable[[Reader, Tensor, int], list[GeneratedText]]
"""``(reader, start [B, T], end) -> B texts``."""


def search_of(options: "dict[str, Any] | Search | None") -> Search:
    """Build a search from a config: its arguments, and perhaps ``type``; the published beam search by default.

    Raises:
        ValueError: If there is no such search, an option has no such name, or a number has no meaning.
    """
    if callable(options):
        return options
    return build(SEARCHES, {"type": "BeamSearch", **(options or {})}, path="search")


def forbid(log_probs: Tensor, written: Tensor, limits: GenerationLimits) -> Tensor:
    """``[R, V]`` log-probabilities, with those of forbidden words set very low.

    Args:
        log_probs: ``[R, V]``.
        written: ``[R, T]``, the words so far, without the start.
        limits: The constraints.
    """
    log_probs = log_probs.clone()
    if limits.no_repeat and written.shape[1] >= limits.no_repeat:
        runs = written.unfold(1, limits.no_repeat, 1)  # [R, runs, no_repeat]
        tail = written[:, written.shape[1] - limits.no_repeat + 1 :]
        begun = (runs[..., :-1] == tail[:, None]).all(dim=2)
        last = runs[..., -1]
        lower = log_probs.gather(1, last) + UNLIKELY * begun
        log_probs.scatter_reduce_(1, last, lower, "amin")  # a word that completes several runs counts once
    if written.shape[1] < limits.min_length:
        log_probs[:, limits.end] = UNLIKELY
    return log_probs


def check_at_least(search: Any, **least: int) -> None:
    """Refuse arguments of a search that are too small.

    Raises:
        ValueError: If one is.
    """
    for name, value in least.items():
        number = getattr(search, name)
        if number < value:
            raise ValueError(f"{name} is {number}; expected {value} or more.")
