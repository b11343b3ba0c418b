"""Answers of a decoder: the likeliest of a fixed list, or written freely.

Shape letters: Q questions, S tokens of a question, C candidates, k of them, L tokens, D width, V words, K beams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from x2vlm.building import suggestion
from x2vlm.models.fusion.encoder import KeyValue
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.prefix_tree import prefix_tree

FIRST_TOKENS = ("once", "twice")


@dataclass(frozen=True)
class Ranking:
    """The likeliest candidates of each question, best first.

    Attributes:
        ids: ``[Q, k]`` long, numbers of candidates.
        probabilities: ``[Q, k]``, among these ``k``.
        scores: ``[Q, k]``, the logarithms that the probabilities are the softmax of.
    """

    ids: Tensor
    probabilities: Tensor
    scores: Tensor


def rank_answers(
    decoder: AnswerDecoder,
    states: Tensor,
    sees: Tensor,
    candidate_ids: Tensor,
    candidate_mask: Tensor,
    k: int = 128,
    first_token: str = "once",
    chunk: int = 256,
) -> Ranking:
    """Choose among candidates in two stages, as published: by their first token, then the ``k`` likeliest as a whole.

    [CLS] is read once per question, and so is whatever several of its candidates begin with.

    Args:
        decoder: What scores answers.
        states: ``[Q, S, D]`` states of the questions.
        sees: ``[Q, S]`` bool, their real tokens.
        candidate_ids: ``[C, L]`` long, with [CLS] in front and [SEP] behind, padded.
        candidate_mask: ``[C, L]`` bool, True at real tokens.
        k: Candidates of the second stage; all where there are fewer.
        first_token: ``once``: a candidate scores the logarithm of its probability. ``twice``, as published: that of its
            first token is added, which thus counts twice. Also decides about candidates that share a first token where
            not all fit in ``k``: in order of the list, or (``twice``) as torch's topk leaves them.
        chunk: Answers that are scored at once; bounds the memory.

    Raises:
        ValueError: If ``first_token`` is neither, or there is no candidate.
    """
    if first_token not in FIRST_TOKENS:
        raise ValueError(
            f"first_token is {first_token!r}.{suggestion(str(first_token), FIRST_TOKENS)} "
            f"Accepted: {', '.join(FIRST_TOKENS)}."
        )
    if min(k, len(candidate_ids), chunk) < 1:
        raise ValueError(f"k={k} of {len(candidate_ids)} candidates in chunks of {chunk}: each must be 1 or more.")
    k = min(k, len(candidate_ids))
    memory = decoder.project(states)
    start = candidate_ids[:1, :1].expand(len(states), 1)  # every candidate begins with [CLS]
    begun, past = decoder.advance(start, memory, sees, ())
    first = decoder.score(begun[:, 0]).float().log_softmax(dim=-1)[:, candidate_ids[:, 1]]
    if first_token == "twice":
        nearest = first.exp().topk(k, dim=1).indices
    else:
        nearest = first.argsort(dim=1, descending=True, stable=True)[:, :k]  # [Q, k]
    few = max(1, chunk // k)  # questions at once
    costs = []
    for some in (slice(q, q + few) for q in range(0, len(states), few)):
        asked = Asked(_rows(memory, some), sees[some], _rows(past, some))
        parts = nearest[some].split(chunk, dim=1)
        costs.append(torch.cat([_rest(decoder, asked, candidate_ids[c], candidate_mask[c]) for c in parts], dim=1))
    # Differs from the published code, unless "twice": see docs/differences.md#first-token.
    first = first.gather(1, nearest)
    scores = first * candidate_mask[nearest, 1] - torch.cat(costs)
    if first_token == "twice":
        scores = first + scores
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return Ranking(nearest.gather(1, order), scores.softmax(dim=1), scores)


class Asked(NamedTuple):
    """Questions as the decoder looks at them: ``memory``, ``sees`` and, of their [CLS], ``past``."""

    memory: list[KeyValue]
    sees: Tensor
    past: list[KeyValue]


def _rows(memory: Sequence[KeyValue], some: slice) -> list[KeyValue]:
    return [(key[some], value[some]) for key, value in memory]


def _rest(decoder: AnswerDecoder, asked: Asked, ids: Tensor, mask: Tensor) -> Tensor:
    """What answers cost after their first word: ``[Q, k, L]`` ids and mask -> ``[Q, k]``.

    What several answers to a question begin with is read once, and the next words are scored once behind it.
    """
    real = mask[..., 2:]
    if not real.any():
        return asked.sees.new_zeros(real.shape[:2], dtype=torch.float32)
    decoder.embeddings.check_room(ids.shape[2] - 1)
    shared = prefix_tree(ids[..., 1:-1], real)
    looks = nn.functional.pad(shared.above, (1, 0), value=True)  # at [CLS] too
    hidden, _ = decoder.read(shared.ids, 1 + shared.depth, looks, asked.memory, asked.sees, asked.past)
    # Not by logsumexp, which torch computes several times more slowly on CPUs.
    log_probs = decoder.score(hidden).float().log_softmax(dim=-1)  # [Q, N, V]
    words = shared.place * log_probs.shape[2] + ids[..., 2:]
    each = log_probs.flatten(1).gather(1, words.flatten(1)).view(words.shape)
    return -each.masked_fill(~real, 0.0).sum(dim=2)


@dataclass(frozen=True)
class Written:
    """Answers that were written freely, best first.

    Attributes:
        ids: ``[Q, K, L]`` long, without [CLS]; ``end`` and whatever follows it is ``end``.
        scores: ``[Q, K]``, logarithms of their probabilities, ``end`` included.
    """

    ids: Tensor
    scores: Tensor


def write_answers(
    decoder: AnswerDecoder, states: Tensor, sees: Tensor, start: int, end: int, num_beams: int = 1, max_tokens: int = 10
) -> Written:
    """Write answers token after token: the likeliest next one, or the likeliest continuations of several beams.

    Args:
        decoder: What scores the next token.
        states: ``[Q, S, D]`` states of the questions.
        sees: ``[Q, S]`` bool, their real tokens.
        start: Id of [CLS].
        end: Id of [SEP].
        num_beams: Answers that are followed at once; 1 is greedy.
        max_tokens: Most tokens of an answer, ``end`` included. What has not ended by then is left as it is.

    Raises:
        ValueError: If a count is below 1, or there are more beams than words.
    """
    if min(num_beams, max_tokens) < 1 or num_beams > len(decoder.bias):
        raise ValueError(
            f"num_beams={num_beams} and max_tokens={max_tokens}: expected 1 or more, and at most as many beams as the "
            f"{len(decoder.bias)} words."
        )
    questions, words = len(states), len(decoder.bias)
    memory = decoder.project(states)
    ids = torch.full((questions, 1, 1), start, device=states.device)
    scores, ended = states.new_zeros(questions, 1, dtype=torch.float32), torch.zeros_like(ids[..., 0], dtype=torch.bool)
    past: list = []
    for _ in range(max_tokens):
        hidden, past = decoder.advance(ids[..., -1].reshape(-1, 1), memory, sees, past)
        each = decoder.score(hidden[:, 0]).float().log_softmax(dim=-1).view(*scores.shape, words)
        stays = torch.full_like(each[:1, :1], -torch.inf)
        stays[..., end] = 0.0  # what has ended goes on as it is, at no cost
        total = scores[..., None] + torch.where(ended[..., None], stays, each)
        # Of equal scores the earlier beam's smaller id: the same answer everywhere.
        scores, chosen = total.flatten(1).sort(dim=1, descending=True, stable=True)
        scores, chosen = scores[:, :num_beams], chosen[:, :num_beams]
        beam, word = chosen // words, chosen % words
        rows = (torch.arange(questions, device=ids.device)[:, None] * ids.shape[1] + beam).flatten()
        ids = torch.cat([ids.flatten(0, 1)[rows].view(questions, num_beams, -1), word[..., None]], dim=2)
        ended = ended.flatten()[rows].view_as(beam) | (word == end)
        past = [tuple(part[rows] for part in pair) for pair in past]
        if ended.all():
            break
    return Written(ids[:, :, 1:], scores)
