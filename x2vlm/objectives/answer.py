"""Answers in words: what does the question, read with its context, make a decoder say?

Shape letters: B questions, S tokens of a question, A answers to all of them, L tokens of an answer, D width.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.building import ConfigError
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.answers import Ranking, Written, rank_answers, write_answers
from x2vlm.models.outputs import EncodedBatch
from x2vlm.registry import OBJECTIVES
from x2vlm.signatures import argument_problems


@OBJECTIVES.register_module()
class AnswerGeneration(nn.Module):
    """Write the answers to questions about pictures, clips or nothing (arXiv:2211.12402v1, App. A.1, "VQA").

    The question goes through the text and fusion encoders with its context, and a decoder that attends to the states
    of all its tokens learns the answers: the cross entropies of an answer's tokens are summed and weighted
    (``Batch.answer_weights``), all answers are added up, and the sum is divided by the number of questions.

    Args:
        width: Width of the fusion encoder.
        vocab_size: Number of words.
        decoder: Built, or arguments of :class:`~x2vlm.models.generation.answer_decoder.AnswerDecoder`; six layers by
            default.
        attention: Attention backend of the decoder, where it does not name its own.
        weight: Factor of the objective's losses.
    """

    requires = ("text.embeds", "batch.answer_ids", "batch.answer_mask", "batch.answer_owner", "batch.answer_weights")

    def __init__(
        self,
        width: int,
        vocab_size: int,
        decoder: AnswerDecoder | Mapping[str, Any] | None = None,
        attention: str = "auto",
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        if not isinstance(decoder, nn.Module):
            given = {"width": width, "vocab_size": vocab_size, "attention": attention, **(decoder or {})}
            if problems := argument_problems(AnswerDecoder, given):
                raise ConfigError(" ".join(problems), "decoder")
            decoder = AnswerDecoder(**given)
        self.decoder, self.weight = decoder, weight

    def forward(self, encoded: EncodedBatch) -> dict[str, Tensor]:
        batch = encoded.batch
        states, sees = self.read(encoded)
        ids, mask, owner, weights = batch.answer_ids, batch.answer_mask, batch.answer_owner, batch.answer_weights
        if not len(ids):  # one that counts nothing: a sharded decoder has to be run by all processes or by none
            ids, mask = ids.new_zeros(1, 2), mask.new_ones((1, 2), dtype=torch.bool)
            owner, weights = owner.new_zeros(1), weights.new_zeros(1)
        memory = [(key[owner], value[owner]) for key, value in self.decoder.project(states)]
        costs = self.decoder.costs(ids, mask, memory, sees[owner])
        return {"loss_answer": (weights * costs).sum() / len(states)}

    def read(self, encoded: EncodedBatch) -> tuple[Tensor, Tensor]:
        """States of the questions ``[B, S, D]``, and where their tokens are real: ``[B, S]`` bool.

        Raises:
            ValueError: If a question reads several pictures together.
        """
        if encoded.batch.text_owner is not None:
            raise ValueError(
                "objective 'answer' reads a question with one picture or clip, but this batch shows several together. "
                "Use objective 'classification' with contexts set to their number."
            )
        return encoded.fuse(encoded.context, encoded.text), encoded.text.mask

    def rank(
        self,
        encoded: EncodedBatch,
        candidate_ids: Tensor,
        candidate_mask: Tensor,
        k: int = 128,
        first_token: str = "once",
        chunk: int = 256,
    ) -> Ranking:
        """The likeliest candidates of each question; see :func:`~x2vlm.models.generation.answers.rank_answers`."""
        return rank_answers(
            self.decoder, *self.read(encoded), candidate_ids, candidate_mask, k, first_token=first_token, chunk=chunk
        )

    def write(self, encoded: EncodedBatch, start: int, end: int, num_beams: int = 1, max_tokens: int = 10) -> Written:
        """Answers in free words; see :func:`~x2vlm.models.generation.answers.write_answers`."""
        return write_answers(self.decoder, *self.read(encoded), start, end, num_beams, max_tokens)
