"""What is kept of predicted classes and numbers until all are together.

Shape letters: B texts (or pictures), C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from x2vlm.constants import IGNORE_INDEX


@dataclass(frozen=True)
class Predictions:
    """Predictions and what is right.

    Attributes:
        predicted: ``[B]``, the likeliest class (of equals the first), or the predicted number.
        true: ``[B]``, the right class (the weightiest of several) or number; -100 where there is none.
        places: ``[B]``, the place of the best right class among all, from 0; C where there is none.
        weights: ``[B]``, the weight of the predicted class where several may be right; None where one is.
        right_of_class: ``[C]``, for how many texts each class is right; None for numbers.
        groups: ``B`` values of what accuracies are told apart by, None where unknown.
        sentences: ``B`` names of sentences, None where nobody asks.
    """

    predicted: Tensor
    true: Tensor
    places: Tensor
    weights: Tensor | None
    right_of_class: Tensor | None
    groups: list[Any]
    sentences: list[Any]

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def known(self) -> Tensor:
        """``[B]`` bool, where it is known what is right."""
        return self.true != IGNORE_INDEX

    def only_known(self) -> "Predictions":
        """Those of which it is known what is right."""
        known = self.known
        return Predictions(
            *(tensor[known] for tensor in (self.predicted, self.true, self.places)),
            None if self.weights is None else self.weights[known],
            self.right_of_class,  # nothing is right where nothing is known
            *([one for one, keep in zip(names, known, strict=True) if keep] for names in (self.groups, self.sentences)),
        )


def predictions_of_classes(logits: Tensor, labels: Tensor | None, label_weights: Tensor | None = None) -> Predictions:
    """Judge scores of classes.

    Args:
        logits: ``[B, C]``.
        labels: ``[B]`` long, -100 where there is none.
        label_weights: ``[B, C]``, instead of ``labels``: every class with a weight above 0 is right.

    Raises:
        ValueError: If a score is not a number, or a label is no class.
    """
    if torch.isnan(logits).any():
        raise ValueError("some scores are not a number (NaN): the model has diverged, or its weights were not loaded.")
    if label_weights is None:
        if len(labels) and labels.max() >= logits.shape[1]:
            raise ValueError(f"a label is {int(labels.max())}, but there are {logits.shape[1]} classes, from 0.")
        right = labels[:, None] == torch.arange(logits.shape[1])
    else:
        right = label_weights > 0
        labels = torch.where(right.any(dim=1), label_weights.argmax(dim=1), IGNORE_INDEX)
    order = logits.argsort(dim=1, descending=True, stable=True)
    found = right.gather(1, order)  # [B, C], from the likeliest on
    return Predictions(
        predicted=order[:, 0],
        true=labels,
        places=torch.where(found.any(dim=1), found.int().argmax(dim=1), logits.shape[1]),
        weights=None if label_weights is None else label_weights.gather(1, order[:, :1])[:, 0],
        right_of_class=right.sum(dim=0),
        groups=[None] * len(labels),
        sentences=[None] * len(labels),
    )


def predictions_of_numbers(predicted: Tensor, true: Tensor) -> Predictions:
    """Predicted and true numbers, ``[B]`` each; -100 where the true one is not known."""
    if torch.isnan(predicted).any():
        raise ValueError("some numbers are not numbers (NaN): the model has diverged, or its weights were not loaded.")
    count = len(true)
    return Predictions(predicted, true, torch.zeros_like(true), None, None, [None] * count, [None] * count)


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of several batches as one; where some have weights, a right class of the others weighs 1."""
    weighted = any(part.weights is not None for part in parts)
    weights = [(part.places == 0).float() if part.weights is None else part.weights for part in parts]
    counts = [part.right_of_class for part in parts]
    return Predictions(
        *(torch.cat([getattr(part, name) for part in parts]) for name in ("predicted", "true", "places")),
        torch.cat(weights) if weighted else None,
        None if counts[0] is None else torch.stack(counts).sum(dim=0),
        *([one for part in parts for one in getattr(part, name)] for name in ("groups", "sentences")),
    )


def all_right(right: Tensor, names: Sequence[Any]) -> Tensor:
    """Whether everything that shares a name is right, ``[B]`` bool and ``B`` names -> one bool for each name."""
    so_far: dict[Any, bool] = {}
    for name, one in zip(names, right.tolist(), strict=True):
        so_far[name] = so_far.get(name, True) and one
    return torch.tensor(list(so_far.values()))


def sentence_of(identifier: Any) -> Any:
    """The sentence that an identifier of NLVR2 means: ``dev-850-0-1`` (split, set, pair, sentence) -> ``dev-850-1``.

    Whatever does not look like an identifier is taken as it is.
    """
    parts = str(identifier).split("-")
    return "-".join([*parts[:2], parts[3]]) if len(parts) == 4 else identifier
