"""Class and number predictions of a data set, with what accuracies and correlations are computed from.

Shape letters: B texts (or images), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from x2vlm.constants import IGNORE_INDEX
from x2vlm.gallery.score_check import check_not_nan


@dataclass(frozen=True)
class Predictions:
    """Predictions and labels.

    Attributes:
        predicted: ``[B]``, the class of highest score (of equals the first), or the predicted number.
        true: ``[B]``, the correct class (the one of highest weight, of several) or number; -100 without a label.
        ranks: ``[B]``, the rank of the best correct class among all, from 0; C without a label.
        weights: ``[B]``, the weight of the predicted class where several may be correct; None where one is.
        class_counts: ``[C]``, for how many texts each class is correct; None for numbers.
        groups: ``B`` values by which accuracies are grouped, None where unknown.
        sentences: ``B`` identifiers of sentences, None where consistency is not computed.
    """

    predicted: Tensor
    true: Tensor
    ranks: Tensor
    weights: Tensor | None
    class_counts: Tensor | None
    groups: list[Any]
    sentences: list[Any]

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def labelled(self) -> Tensor:
        """``[B]`` bool, True where there is a label."""
        return self.true != IGNORE_INDEX

    def select_labelled(self) -> "Predictions":
        """The predictions that have a label."""
        labelled = self.labelled
        return Predictions(
            *(tensor[labelled] for tensor in (self.predicted, self.true, self.ranks)),
            None if self.weights is None else self.weights[labelled],
            self.class_counts,  # texts without a label count for no class
            *(
                [value for value, keep in zip(values, labelled, strict=True) if keep]
                for values in (self.groups, self.sentences)
            ),
        )


def class_predictions(logits: Tensor, labels: Tensor | None, label_weights: Tensor | None = None) -> Predictions:
    """Predicted classes from scores, with the rank of the label.

    Args:
        logits: ``[B, C]``.
        labels: ``[B]`` long, -100 without a label.
        label_weights: ``[B, C]``, instead of ``labels``: every class with a weight above 0 is correct.

    Raises:
        ValueError: If a score is not a number, or a label is no class.
    """
    check_not_nan(logits)
    if label_weights is None:
        if len(labels) and labels.max() >= logits.shape[1]:
            raise ValueError(f"a label is {int(labels.max())}, but there are {logits.shape[1]} classes, from 0.")
        correct = labels[:, None] == torch.arange(logits.shape[1])
    else:
        correct = label_weights > 0
        labels = torch.where(correct.any(dim=1), label_weights.argmax(dim=1), IGNORE_INDEX)
    order = logits.argsort(dim=1, descending=True, stable=True)
    sorted_correct = correct.gather(1, order)  # [B, C], by descending score
    return Predictions(
        predicted=order[:, 0],
        true=labels,
        ranks=torch.where(sorted_correct.any(dim=1), sorted_correct.int().argmax(dim=1), logits.shape[1]),
        weights=None if label_weights is None else label_weights.gather(1, order[:, :1])[:, 0],
        class_counts=correct.sum(dim=0),
        groups=[None] * len(labels),
        sentences=[None] * len(labels),
    )


def number_predictions(predicted: Tensor, true: Tensor) -> Predictions:
    """Predicted and true numbers, ``[B]`` each; -100 without a true one."""
    check_not_nan(predicted, "predictions")
    count = len(true)
    return Predictions(predicted, true, torch.zeros_like(true), None, None, [None] * count, [None] * count)


def concat_predictions(batches: Sequence[Predictions]) -> Predictions:
    """Concatenate predictions; where some have weights, a correct class of the others has weight 1."""
    weighted = any(batch.weights is not None for batch in batches)
    weights = [(batch.ranks == 0).float() if batch.weights is None else batch.weights for batch in batches]
    counts = [batch.class_counts for batch in batches]
    return Predictions(
        *(torch.cat([getattr(batch, name) for batch in batches]) for name in ("predicted", "true", "ranks")),
        torch.cat(weights) if weighted else None,
        None if counts[0] is None else torch.stack(counts).sum(dim=0),
        *([value for batch in batches for value in getattr(batch, name)] for name in ("groups", "sentences")),
    )


def all_correct(correct: Tensor, groups: Sequence[Any]) -> Tensor:
    """Whether all members of a group are correct: ``[B]`` bool and ``B`` group names -> one bool for each group."""
    by_group: dict[Any, bool] = {}
    for group, value in zip(groups, correct.tolist(), strict=True):
        by_group[group] = by_group.get(group, True) and value
    return torch.tensor(list(by_group.values()))


def nlvr2_sentence(identifier: Any) -> Any:
    """The sentence of an NLVR2 identifier: ``dev-850-0-1`` (split, set, image pair, sentence) -> ``dev-850-1``.

    Anything that is not of this form is returned unchanged.
    """
    fields = str(identifier).split("-")
    return "-".join([*fields[:2], fields[3]]) if len(fields) == 4 else identifier
