"""Answer generation: a decoder over the fused states of a question.

Shape letters: B questions, S tokens of a question, A answers to all of them, L tokens of an answer, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor, nn

from x2vlm.argument_checks import argument_problems
from x2vlm.building import ConfigError
from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.generation.answer_decoder import AnswerDecoder
from x2vlm.models.generation.rank_answers import GeneratedAnswers, Ranking, rank_answers, write_answers
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.registry import OBJECTIVES


@OBJECTIVES.register_module()
class AnswerGeneration(Objective):
    """Generate answers to questions about images, clips or nothing (arXiv:2211.12402v1, App. A.1, "VQA").

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

    needs = Needs(
        text=True, optional_context=True, batch=("answer_ids", "answer_mask", "answer_owner", "answer_weights")
    )

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
            arguments = {"width": width, "vocab_size": vocab_size, "attention": attention, **(decoder or {})}
            if problems := argument_problems(AnswerDecoder, arguments):
                raise ConfigError(" ".join(problems), "decoder")
            decoder = AnswerDecoder(**arguments)
        self.decoder, self.weight = decoder, weight

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """The questions with their contexts, all of their tokens.

        Raises:
            ValueError: If a question has several images.
        """
        if encoded.batch.text_owner is not None:
            raise ValueError(
                "objective 'answer' reads a question with one image or clip, but this batch shows several together. "
                "Use objective 'classification' with contexts set to their number."
            )
        return [FusionRequest(encoded.text, encoded.context)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        batch, states = encoded.batch, fused[0].states
        ids, owner, weights = batch.answer_ids, batch.answer_owner, batch.answer_weights
        mask = batch.on_host().answer_mask
        if not len(ids):  # one of weight 0: a sharded decoder has to be run by all processes or by none
            ids, mask = ids.new_zeros(1, 2), np.ones((1, 2), bool)
            owner, weights = owner.new_zeros(1), weights.new_zeros(1)
        keys_values = [(key[owner], value[owner]) for key, value in self.decoder.project(states)]
        costs = self.decoder.costs(ids, mask, keys_values, encoded.text.mask[owner])
        return {"loss_answer": (weights * costs).sum() / len(states)}

    def rank(
        self,
        fused: Sequence[FusedStates],
        candidate_ids: Tensor,
        candidate_mask: Tensor,
        k: int = 128,
        first_token: str = "once",
        chunk: int = 256,
    ) -> Ranking:
        """The likeliest candidates of each question; see :func:`~x2vlm.models.generation.rank_answers.rank_answers`."""
        questions = fused[0].states, fused[0].request.text.mask
        return rank_answers(
            self.decoder, *questions, candidate_ids, candidate_mask, k, first_token=first_token, chunk=chunk
        )

    def write(
        self, fused: Sequence[FusedStates], start: int, end: int, num_beams: int = 1, max_tokens: int = 10
    ) -> GeneratedAnswers:
        """Generate answers; see :func:`~x2vlm.models.generation.rank_answers.write_answers`."""
        return write_answers(
            self.decoder, fused[0].states, fused[0].request.text.mask, start, end, num_beams, max_tokens
        )
