"""Beam search, as published for captions, and for answers that stay as they are once they have ended.

Shape letters: B texts to write, K beams, R rows (partial texts), T tokens so far, V words.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.models.generation.search import UNLIKELY, GeneratedText, GenerationLimits, Reader, check_at_least, forbid
from x2vlm.registry import SEARCHES

LENGTHS = ("prompt", "batch")


@SEARCHES.register_module()
@dataclass(frozen=True)
class BeamSearch:
    """Beam search, as published.

    At each step each beam proposes its ``beams`` likeliest words, and the likeliest ``beams`` of all go on. A text that
    has ended goes on with a penalty of 10000, so only where nothing else is left. Of all texts that ended by the first
    step at which all beams did (or, at the last step, have not ended), the one with the best score is taken. What the
    published search computes after nothing can change any more is left out; the texts are the same.

    Args:
        beams: Number of beams.
        min_length: A text has so many words (tokens) or more, that which ends it not counted.
        max_length: At most so many, that which ends it counted.
        length_penalty: Scores, sums of log-probabilities, are divided by ``((5 + n) / 6) ** length_penalty``, n words
            including the one that ends the text; 0 leaves them as they are, which favours short texts.
        no_repeat: No run of so many words comes twice; 0 allows it.
        length_from: ``prompt``: ``max_length`` counts from the end of the prompt. ``batch``: so that prompt and text
            have together as many tokens as there are texts in the batch, and ``max_length`` more, as published.

    Raises:
        ValueError: If a number has no meaning.
    """

    beams: int = 3
    min_length: int = 5
    max_length: int = 50
    length_penalty: float = 0.0
    no_repeat: int = 3
    length_from: str = "prompt"

    def __post_init__(self) -> None:
        check_at_least(self, beams=1, min_length=0, max_length=1, no_repeat=0)
        if self.length_penalty < 0:
            raise ValueError(f"length_penalty is {self.length_penalty}; expected 0 (none) or more.")
        if self.length_from not in LENGTHS:
            near = suggestion(self.length_from, LENGTHS)
            raise ValueError(f"length_from is {self.length_from!r}.{near} Accepted: {', '.join(LENGTHS)}.")

    @torch.no_grad()
    def __call__(self, reader: Reader, start: Tensor, end: int) -> list[GeneratedText]:
        """Write ``B`` texts.

        Args:
            reader: Scores the next token.
            start: ``[B, T]``, what the texts begin with.
            end: The token that ends a text.
        """
        count, beams = len(start), self.beams
        # Differs from the published search, whose length grows with the batch. See docs/differences.md#caption-length.
        steps = self.max_length if self.length_from == "prompt" else count + self.max_length - start.shape[1]
        if not count or steps < 1:
            return [GeneratedText([], 0.0) for _ in range(count)]
        limits = GenerationLimits(end, self.min_length, self.no_repeat)
        _, frames = beam_search(
            reader, start, beams, steps, limits, settled=partial(self._settled, end=end, steps=steps)
        )
        listed = [frame.listed() for frame in frames]
        return [self._best([frame.of(b) for frame in listed], end, len(frames) == steps) for b in range(count)]

    def _settled(self, frames: Sequence["Frame"], end: int, steps: int) -> bool:
        """Whether the result is final: all beams have ended once, or none can overtake the best ended one.

        A score can only fall; what divides it grows to that of the last step at most.
        """
        words = torch.stack([frame.words for frame in frames], dim=1)  # [B, frames, K]
        scores = torch.stack([frame.scores for frame in frames], dim=1).double()
        ended = words == end
        lengths = torch.arange(1, len(frames) + 1, device=words.device)[:, None]
        penalised = scores / ((5 + lengths) / 6) ** self.length_penalty
        best = penalised.masked_fill(~ended, -torch.inf).amax(dim=(1, 2))
        hope = scores[:, -1].amax(dim=1) / ((5 + steps) / 6) ** self.length_penalty
        return bool((ended.all(dim=2).any(dim=1) | (best >= hope) | hope.isnan()).all())

    def _best(self, frames: Sequence["ListedFrame"], end: int, complete: bool) -> GeneratedText:
        """The best of all texts that ended, or were unfinished at the last step."""
        all_ended = (f for f, frame in enumerate(frames) if all(word == end for word in frame.words))
        last = next(all_ended, len(frames) - 1)
        best, best_place = -float("inf"), None
        for f, frame in enumerate(frames[: last + 1]):
            for k, (word, score) in enumerate(zip(frame.words, frame.scores, strict=True)):
                if word != end and (f < last or not complete):
                    continue
                if self.length_penalty:
                    score /= ((5 + f + 1) / 6) ** self.length_penalty
                if score > best:
                    best, best_place = score, (f, k)
        if best_place is None:
            raise ValueError("scores of words are not numbers (NaN): the model has diverged, or has no weights yet.")
        f, k = best_place
        ids = []
        while f >= 0:
            ids.append(frames[f].words[k])
            f, k = f - 1, frames[f].parents[k]
        ids.reverse()
        return GeneratedText(ids[:-1] if ids[-1] == end else ids, best)


class Frame(NamedTuple):
    """One step of a search: ``[B, K]`` words, their texts' scores, and which beam of the step before each goes on."""

    words: Tensor
    scores: Tensor
    parents: Tensor

    def listed(self) -> "ListedFrame":
        """As lists."""
        return ListedFrame(*(one.tolist() for one in self))


class ListedFrame(NamedTuple):
    """A frame, or one text's part of it, as lists."""

    words: list
    scores: list
    parents: list

    def of(self, text: int) -> "ListedFrame":
        """The part of one text."""
        return ListedFrame(*(one[text] for one in self))


def beam_search(
    reader: Reader,
    start: Tensor,
    beams: int,
    steps: int,
    limits: GenerationLimits,
    ended: str = "penalty",
    settled: Callable[[Sequence[Frame]], bool] | None = None,
) -> tuple[Tensor, list[Frame]]:
    """Extend several beams for each text, token by token.

    At each step each beam proposes its ``beams`` likeliest words, and the likeliest ``beams`` of all go on.

    Args:
        reader: Scores the next token.
        start: ``[B, T]``, what the texts begin with.
        beams: K, beams of each text.
        steps: Most tokens to write.
        limits: Constraints on the next token.
        ended: What becomes of a text that has ended: ``penalty`` goes on with any word at a penalty of 10000, so only
            where nothing else is left; ``stay`` stays as it is, at no cost.
        settled: Whether the result is final, given the steps so far; called once ``limits.min_length`` is passed. By
            default: every beam has ended.

    Returns:
        ``[B * K, T + steps]`` long, the final beams, and the steps.

    Raises:
        ValueError: If there are fewer words than beams.
    """
    count, ids, frames = len(start), start, []
    rows = torch.arange(count, device=start.device)
    first = rows[:, None] * beams
    for _ in range(steps):
        log_probs = forbid(reader(ids, rows), ids[:, start.shape[1] :], limits)
        if beams > log_probs.shape[1]:
            raise ValueError(f"beams is {beams}, but there are only {log_probs.shape[1]} words.")
        frames.append(_likeliest(log_probs, beams, frames[-1] if frames else None, limits.end, ended))
        rows = (rows[:, None] + frames[-1].parents if len(frames) == 1 else first + frames[-1].parents).flatten()
        ids = torch.cat([ids[rows], frames[-1].words.reshape(-1, 1)], dim=1)
        # Before texts may end no check is needed, and no wait for the device.
        if len(frames) > limits.min_length and (settled or partial(_all_ended, end=limits.end))(frames):
            break
    return ids, frames


def _all_ended(frames: Sequence[Frame], end: int) -> bool:
    return bool((frames[-1].words == end).all())


def _likeliest(log_probs: Tensor, beams: int, before: Frame | None, end: int, ended: str) -> Frame:
    """``[B * K, V]`` log-probabilities (``[B, V]`` at the first step) -> the beams that go on."""
    if before is None:
        scores, words = _top(log_probs, beams, ended)
        return Frame(words, scores, torch.zeros_like(words))
    has_ended = (before.words == end).reshape(-1, 1)
    if ended == "stay":
        end_only = torch.full_like(log_probs[:1], -torch.inf)
        end_only[:, end] = 0.0
        log_probs = torch.where(has_ended, end_only, log_probs)
    scores, words = _top(log_probs, beams, ended)
    penalty = has_ended * UNLIKELY if ended == "penalty" else 0.0
    scores = scores + (penalty + before.scores.reshape(-1, 1))
    candidates = scores.view(len(before.words), beams * beams)
    chosen_scores, chosen = _top(candidates, beams, ended)
    return Frame(words.reshape(candidates.shape).gather(1, chosen), chosen_scores, chosen // beams)


def _top(scores: Tensor, count: int, ended: str) -> tuple[Tensor, Tensor]:
    """The highest of each row and where they are; of equal ones the first where texts that have ended stay."""
    if ended == "penalty":  # as published
        return scores.topk(count, dim=1)
    ordered, indices = scores.sort(dim=1, descending=True, stable=True)
    return ordered[:, :count], indices[:, :count]
