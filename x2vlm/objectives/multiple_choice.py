"""Multiple choice: which of some answers to a question about an image or clip is right?

Shape letters: B texts (question and answer), K answers of one question, Q = B / K questions, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from x2vlm.building import suggestion
from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.objectives.heads import two_layer_head
from x2vlm.registry import OBJECTIVES

SCORING = ("rank", "match")


@OBJECTIVES.register_module()
class MultipleChoice(Objective):
    """Score every answer with its question and its clip, and choose the best (NExT-QA, arXiv:2105.08276).

    Batches have ``K`` texts of each record in a row
    (:class:`~x2vlm.data.transforms.texts.answer_choices.PickChoices`), label 1 for the right one.

    Args:
        choices: K.
        width: Width of the fusion encoder.
        scoring: ``rank``: one score for each answer, cross entropy over those of a question. ``match``: whether a
            question and an answer match or not, each by itself; the likeliest match is chosen.
        weight: Factor of the objective's losses.
    """

    needs = Needs(text=True, context=True, batch=("labels",))

    def __init__(self, width: int, choices: int = 5, scoring: str = "rank", weight: float = 1.0) -> None:
        super().__init__()
        if scoring not in SCORING:
            raise ValueError(
                f"scoring is {scoring!r}.{suggestion(str(scoring), SCORING)} Accepted: {', '.join(SCORING)}."
            )
        if choices < 2:
            raise ValueError(f"choices is {choices}; expected 2 or more.")
        self.head = two_layer_head(width, 1 if scoring == "rank" else 2)
        self.choices, self.scoring, self.weight = choices, scoring, weight

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """Every question with each of its answers, reading its clip."""
        return [FusionRequest(encoded.text, encoded.context, at=0)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        labels = self.questions(encoded.batch.labels)
        if self.scoring == "match":
            loss = nn.functional.cross_entropy(self.head(fused[0].states), labels.flatten())
        else:
            loss = nn.functional.cross_entropy(self.scores(fused), labels.argmax(dim=1))
        return {"loss_multiple_choice": loss}

    def scores(self, fused: Sequence[FusedStates]) -> Tensor:
        """``[Q, K]``, higher where the answer is likelier: a score, or the log of the odds that they match."""
        made = self.head(fused[0].states)
        return self.questions(made[:, 0] if self.scoring == "rank" else made[:, 1] - made[:, 0])

    def questions(self, of_texts: Tensor) -> Tensor:
        """``[B]`` -> ``[Q, K]``.

        Raises:
            ValueError: If the texts are not K for each question.
        """
        if len(of_texts) % self.choices:
            raise ValueError(
                f"this batch has {len(of_texts)} texts, which are not {self.choices} answers for each question. Use "
                f"PickChoices(count={self.choices}), and no max_images of the stream: it would leave some out."
            )
        return of_texts.view(-1, self.choices)


def chosen(scores: Tensor) -> Tensor:
    """``[Q, K]`` scores -> ``[Q]``, the number of the best answer; the first of equals.

    Raises:
        ValueError: If a score is not a number.
    """
    if torch.isnan(scores).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    return scores.argmax(dim=1)
