"""Answers of a decoder: ranked from a fixed list, or generated.

Shape letters: Q questions, S tokens of a question, C candidates, k of them, L tokens, D width, V words, K beams.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from x2vlm.building import suggestion
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.beam_search import beam_search
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.generation.prefix_tree import prefix_tree
from x2vlm.models.generation.search import GenerationLimits
from x2vlm.models.layers.attention import KeyValue

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
    question_mask: Tensor,
    candidate_ids: Tensor,
    candidate_mask: Tensor,
    k: int = 128,
    first_token: str = "once",
    chunk: int = 256,
) -> Ranking:
    """Rank candidates in two stages, as published: by their first token, then the ``k`` likeliest as a whole.

    [CLS] and every distinct prefix of the candidates are computed once per question.

    Args:
        decoder: Scores answers.
        states: ``[Q, S, D]`` states of the questions.
        question_mask: ``[Q, S]`` bool, True at their real tokens.
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
    question_keys_values = decoder.project(states)
    start = candidate_ids[:1, :1].expand(len(states), 1)  # every candidate begins with [CLS]
    cache = KVCache()
    cls_state = decoder.advance(start, question_keys_values, question_mask, cache)
    first = decoder.score(cls_state[:, 0]).float().log_softmax(dim=-1)[:, candidate_ids[:, 1]]
    if first_token == "twice":
        nearest = first.exp().topk(k, dim=1).indices
    else:
        nearest = first.argsort(dim=1, descending=True, stable=True)[:, :k]  # [Q, k]
    questions_at_once = max(1, chunk // k)  # questions at once
    costs = []
    for rows in (slice(q, q + questions_at_once) for q in range(0, len(states), questions_at_once)):
        questions = Questions(
            [(key[rows], value[rows]) for key, value in question_keys_values], question_mask[rows], cache.of(rows)
        )
        parts = nearest[rows].split(chunk, dim=1)
        costs.append(torch.cat([_rest(decoder, questions, candidate_ids[c], candidate_mask[c]) for c in parts], dim=1))
    # Differs from the published code, unless "twice": see docs/differences.md#first-token.
    first = first.gather(1, nearest)
    scores = first * candidate_mask[nearest, 1] - torch.cat(costs)
    if first_token == "twice":
        scores = first + scores
    scores, order = scores.sort(dim=1, descending=True, stable=True)
    return Ranking(nearest.gather(1, order), scores.softmax(dim=1), scores)


class Questions(NamedTuple):
    """Questions as inputs of the decoder: keys and values, mask, and the cache of their [CLS]."""

    question_keys_values: list[KeyValue]
    question_mask: Tensor
    cache: KVCache


def _rest(decoder: AnswerDecoder, questions: Questions, ids: Tensor, mask: Tensor) -> Tensor:
    """Cost of answers after their first word: ``[Q, k, L]`` ids and mask -> ``[Q, k]``.

    Each distinct prefix of a question's answers is computed once, and the next words are scored once after it.
    """
    real = mask[..., 2:]
    decoder.embeddings.check_length(ids.shape[2] - 1)
    tree = prefix_tree(ids[..., 1:-1], real) if real.shape[2] else None
    if tree is None or not tree.ids.shape[1]:  # all answers are of one word
        return questions.question_mask.new_zeros(real.shape[:2], dtype=torch.float32)
    attn_mask = nn.functional.pad(tree.above, (1, 0), value=True)  # and to [CLS]
    cache = questions.cache.of(slice(None))
    hidden = decoder.read(
        tree.ids, 1 + tree.depth, attn_mask, questions.question_keys_values, questions.question_mask, cache
    )
    # Not by logsumexp, which torch computes several times more slowly on CPUs.
    log_probs = decoder.score(hidden).float().log_softmax(dim=-1)  # [Q, N, V]
    words = tree.number * log_probs.shape[2] + ids[..., 2:]
    log_probs_of_words = log_probs.flatten(1).gather(1, words.flatten(1)).view(words.shape)
    return -log_probs_of_words.masked_fill(~real, 0.0).sum(dim=2)


@dataclass(frozen=True)
class GeneratedAnswers:
    """Generated answers, best first.

    Attributes:
        ids: ``[Q, K, L]`` long, without [CLS]; ``end`` and whatever follows it is ``end``.
        scores: ``[Q, K]``, logarithms of their probabilities, ``end`` included.
    """

    ids: Tensor
    scores: Tensor


def write_answers(
    decoder: AnswerDecoder,
    states: Tensor,
    question_mask: Tensor,
    start: int,
    end: int,
    num_beams: int = 1,
    max_tokens: int = 10,
) -> GeneratedAnswers:
    """Generate answers by greedy or beam search.

    Args:
        decoder: Scores the next token.
        states: ``[Q, S, D]`` states of the questions.
        question_mask: ``[Q, S]`` bool, True at their real tokens.
        start: Id of [CLS].
        end: Id of [SEP].
        num_beams: Number of beams; 1 is greedy.
        max_tokens: Most tokens of an answer, ``end`` included. Unfinished answers are returned as they are.

    Raises:
        ValueError: If a count is below 1, or there are more beams than words.
    """
    if min(num_beams, max_tokens) < 1 or num_beams > len(decoder.bias):
        raise ValueError(
            f"num_beams={num_beams} and max_tokens={max_tokens}: expected 1 or more, and at most as many beams as the "
            f"{len(decoder.bias)} words."
        )
    reader = AnswerReader(decoder, decoder.project(states), question_mask)
    begun = torch.full((len(states), 1), start, device=states.device)
    limits = GenerationLimits(end, min_length=0, no_repeat=0)
    ids, frames = beam_search(reader, begun, num_beams, max_tokens, limits, ended="stay")
    return GeneratedAnswers(ids.unflatten(0, (len(states), num_beams))[:, :, 1:], frames[-1].scores)


class AnswerReader:
    """Next-word scores of partial answers; see :class:`~x2vlm.models.generation.search.Reader`.

    Args:
        decoder: Scores words.
        question_keys_values: ``decoder.project(states)`` of the questions.
        question_mask: ``[Q, S]`` bool, True at their real tokens.
    """

    def __init__(self, decoder: AnswerDecoder, question_keys_values: list[KeyValue], question_mask: Tensor) -> None:
        self.decoder, self.question_keys_values, self.question_mask, self.cache = (
            decoder,
            question_keys_values,
            question_mask,
            KVCache(),
        )

    def __call__(self, ids: Tensor, rows: Tensor) -> Tensor:
        """``[R, V]`` log-probabilities."""
        if self.cache.length:
            self.cache.select(rows)
        hidden = self.decoder.advance(
            ids[:, self.cache.length :], self.question_keys_values, self.question_mask, self.cache
        )
        return self.decoder.score(hidden[:, -1]).float().log_softmax(dim=-1)
