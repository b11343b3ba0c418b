"""Answers of questions: with the weights of their annotators, or as classes."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from mmcv.transforms import BaseTransform

from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.record import Record, RecordError, with_record_errors
from x2vlm.data.transforms.class_names import KnownShare, read_classes
from x2vlm.data.transforms.labels import MAX_NUMBER
from x2vlm.data.transforms.texts.field_texts import choose_text
from x2vlm.data.transforms.texts.text_cleaning import is_blank
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PickAnswers(BaseTransform):
    """The record's ``answers`` become those of its texts, each once and with a weight.

    The weight of an answer is the share of annotators who gave it, unless the record has its own weights. All answers
    also go to ``extras["answers"]`` unchanged, for metrics. Goes after ``PickQuestion``.

    Args:
        weight: Give every answer this weight instead (published: 0.5 for the answers of Visual Genome).
    """

    def __init__(self, weight: float | None = None) -> None:
        if weight is not None and weight <= 0:
            raise ValueError(f"weight is {weight}; expected a number above 0, or None for the share of annotators")
        self.weight = weight

    def transform(self, results: Record) -> Record:
        """Add ``text_answers``.

        Raises:
            RecordError: If there is no answer, or one is no text.
        """
        answers = weighted_answers(results)
        if self.weight is not None:
            answers = [(answer, self.weight) for answer, _ in answers]
        extras = results.get("extras", {}) | {"answers": raw_answers(results)}
        return results | {"text_answers": [answers] * len(results["texts"]), "extras": extras}


@TRANSFORMS.register_module()
class AnswerLabel(BaseTransform):
    """The record's ``answers`` become the class of its texts: VQA as classification among frequent answers.

    A record whose answers are outside the list has no label (-100). If that is so of nearly all records, the list is
    the wrong one, and an error. All answers also go to ``extras["answers"]``. Goes
    after ``PickQuestion``.

    Args:
        classes: The possible answers, in order, or a file with them (see :func:`read_classes`).
        soft: Every answer counts with its weight (a dict from class to weight; the collate function needs
            ``num_classes``). False: only the answer of the greatest weight, the first of equals.
    """

    paths_or_names = ("classes",)

    def __init__(self, classes: Sequence[str] | str | PathLike, soft: bool = False) -> None:
        self.classes, self.soft = read_classes(classes, "AnswerLabel.classes"), soft
        self._met = KnownShare("AnswerLabel.classes")

    def transform(self, results: Record) -> Record:
        """Add ``labels``.

        Raises:
            RecordError: If there is no answer, or one is no text.
            ValueError: If nearly none of the first records has an answer of the list.
        """
        answers = weighted_answers(results)
        self._met.note(any(answer in self.classes for answer, _ in answers), answers[0][0], self.classes)
        if self.soft:
            classes = [(self.classes[answer], weight) for answer, weight in answers if answer in self.classes]
            label = {index: sum(w for i, w in classes if i == index) for index, _ in classes}
        else:
            label = self.classes.get(max(answers, key=lambda pair: pair[1])[0], IGNORE_INDEX)
        extras = results.get("extras", {}) | {"answers": raw_answers(results)}
        return results | {"labels": [label] * len(results["texts"]), "extras": extras}


def weighted_answers(results: Record) -> list[tuple[str, float]]:
    """The answers of a record, each once, in the order in which they first occur.

    Several strings are weighted by their share; pairs of a string and a weight, or an object from one to the other,
    say it themselves. Empty answers are left out, and count among the annotators.

    Raises:
        RecordError: If there is none, or one is neither a text nor a text with a weight.
    """
    weights: dict[str, float] = {}
    listed = _answer_list(results)
    for entry in listed:
        answer, weight = entry if isinstance(entry, tuple | list) and len(entry) == 2 else (entry, 1 / len(listed))
        if not isinstance(answer, str) or not _is_weight(weight):
            raise RecordError(results["where"], f"expected an answer, or an answer and its weight, got {entry!r:.80}")
        with_record_errors(results, choose_text, answer)
        if not is_blank(answer):
            weights[answer.strip()] = weights.get(answer.strip(), 0.0) + weight
    if not weights:
        raise RecordError(results["where"], f"its answers are empty: {listed!r:.60}")
    return list(weights.items())


def _is_weight(weight: Any) -> bool:
    return isinstance(weight, int | float) and 0 <= weight <= MAX_NUMBER


def raw_answers(results: Record) -> list[str]:
    """The answers of a record without weights, one for each annotator; empty ones are left out."""
    answers = [entry if isinstance(entry, str) else entry[0] for entry in _answer_list(results)]
    return [answer for answer in answers if not is_blank(answer)]


def _answer_list(results: Record) -> list:
    answers = results.get("answers")
    answers = [answers] if isinstance(answers, str) else answers
    if isinstance(answers, dict):  # GQA and xGQA as IGLUE has them: from answer to weight
        answers = list(answers.items())
    if not isinstance(answers, list) or not answers:
        raise RecordError(results["where"], f"there are no answers, but {answers!r:.60}")
    # VQA as published: objects with a number and a confidence beside the answer
    return [one["answer"] if isinstance(one, dict) and "answer" in one else one for one in answers]
