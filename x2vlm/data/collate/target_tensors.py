"""Label and answer tensors of a batch.

Shape letters: B texts, C classes, A answers to all texts, L tokens.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.batch import Sample
from x2vlm.data.collate.padding import padded_tokens

Label = int | float | dict[int, float]


def label_tensors(labels: Sequence[Label], num_classes: int | None = None) -> dict[str, Tensor]:
    """The classes of ``B`` texts.

    Args:
        labels: For each a class, a number to predict (float), or a dict from class to weight; -100 where there is none.
        num_classes: Needed where a label is a dict.

    Returns:
        Nothing where there are no labels. ``labels`` ``[B]``: long, or float where a label is a float.
        ``label_weights`` ``[B, C]`` instead where a label is a dict: then a plain class weighs 1, and -100 nothing.

    Raises:
        ValueError: If ``num_classes`` is needed and missing, or a class is not below it.
    """
    if not labels:
        return {}
    if any(isinstance(label, dict) for label in labels):
        return {"label_weights": _weights(labels, num_classes)}
    is_number = any(isinstance(label, float) for label in labels)
    return {"labels": torch.tensor(list(labels), dtype=torch.float32 if is_number else torch.long)}


def _weights(labels: Sequence[Label], num_classes: int | None) -> Tensor:
    if num_classes is None:
        raise ValueError("some texts have several classes with a weight each: PairCollate needs num_classes for them")
    weights = torch.zeros(len(labels), num_classes)
    for text, label in enumerate(labels):
        for index, weight in (label if isinstance(label, dict) else {label: 1.0}).items():
            if index == IGNORE_INDEX:
                continue
            if not 0 <= index < num_classes:
                raise ValueError(f"class {index} is not below num_classes={num_classes} of PairCollate")
            weights[text, index] = weight
    return weights


def answer_tensors(
    answers: Sequence[Sequence[tuple[str, float]]], tokens: Callable[[list[str]], list[list[int]]], pad: int
) -> dict[str, Tensor]:
    """The answers to ``B`` texts, concatenated.

    Args:
        answers: For each text its answers with their weights.
        tokens: From answers to token ids, [CLS] and [SEP] included.
        pad: The id of padding.

    Returns:
        Nothing where there is no list of answers, else ``answer_ids`` and ``answer_mask`` ``[A, L]``, ``answer_owner``
        ``[A]`` long (which text) and ``answer_weights`` ``[A]``.
    """
    if not answers:
        return {}
    flat = [(owner, answer, weight) for owner, listed in enumerate(answers) for answer, weight in listed]
    ids, mask = padded_tokens(tokens([answer for _, answer, _ in flat]), pad)
    return {
        "answer_ids": ids,
        "answer_mask": mask,
        "answer_owner": torch.tensor([owner for owner, _, _ in flat], dtype=torch.long),
        "answer_weights": torch.tensor([weight for _, _, weight in flat], dtype=torch.float32),
    }


def targets_of_pairs(samples: Sequence[Sample], pairs: Sequence[tuple[int, int]], name: str) -> list:
    """``labels`` or ``answers`` of pairs (sample, its text); empty where no sample has any.

    Raises:
        ValueError: If a sample has not one for each text, or none while others have some.
    """
    values = [getattr(sample, name) for sample in samples]
    if not any(values):
        return []
    for sample, value in zip(samples, values, strict=True):
        texts = max(len(sample.texts), 1)
        if len(value) != texts and (value or sample.texts):
            raise ValueError(
                f"{sample.where} has {len(value)} {name} for {texts} texts, and others in its batch have {name}: "
                "expected one for each text"
            )
    return [values[sample][text] for sample, text in pairs]
