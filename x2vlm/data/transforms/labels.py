"""Labels and answers of records: classes by number or name, answers with weights, answers as classes."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from mmcv.transforms import BaseTransform

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.io.paths import existing_file
from x2vlm.data.record import Record, RecordError, with_record_errors
from x2vlm.data.transforms.text_choice import choose_text
from x2vlm.data.transforms.text_cleaning import is_blank
from x2vlm.registry import TRANSFORMS

UNKNOWN = ("error", "ignore")
TRUTH = {"true": 1, "false": 0}

_FIRST_RECORDS, _LEAST_KNOWN = 100, 0.05  # after so many records at least this share must have had a class

_MAX = 2**31  # of a class and of a weight: beyond are typing errors, and numbers that a tensor cannot hold


@TRANSFORMS.register_module()
class PickLabel(BaseTransform):
    """The record's ``label`` becomes the class of its texts (of its image, where it has no texts).

    Goes after the transform that chooses the texts.

    Args:
        classes: Names of the classes in order, or a file with them (see :func:`read_classes`); None: labels are numbers
            already, or true and false, also as words, which are 1 and 0.
        unknown: How a label that is not among them is treated: an ``"error"`` of its record, or ``"ignore"``: no label
            (-100).
        number: Labels are numbers to predict (GLUE STS-B), not classes.

    Raises:
        ValueError: If an option has no meaning or the file is no list of classes.
    """

    paths_or_names = ("classes",)

    def __init__(
        self,
        classes: Sequence[str] | str | PathLike | None = None,
        unknown: str = "error",
        number: bool = False,
    ) -> None:
        _check_unknown(unknown)
        self._met = KnownShare("PickLabel.classes")
        if number and classes is not None:
            raise ValueError("number=True means a number to predict; it has no classes")
        self.classes = None if classes is None else read_classes(classes, "PickLabel.classes")
        self.unknown, self.number = unknown, number

    def transform(self, results: Record) -> Record:
        """Add ``labels``.

        Raises:
            RecordError: If there is no label, or an unknown one.
        """
        if results.get("label") is None:
            raise RecordError(results["where"], "there is no label")
        return results | {"labels": [self._class(results)] * len(results.get("texts", [None]))}

    def _class(self, results: Record) -> int | float:
        label = results["label"]
        try:
            if self.number:
                return _checked_range(float(label))
            if self.classes is None:
                return TRUTH[str(label).lower()] if str(label).lower() in TRUTH else _checked_class(int(label))
        except (TypeError, ValueError, OverflowError) as error:
            expected = "a number" if self.number else "the number of a class (names need classes=...)"
            raise RecordError(results["where"], f"its label is {label!r:.60}; expected {expected}") from error
        name = str(label).strip()
        index = self.classes.get(name, self.classes.get(name.lower()) if isinstance(label, bool) else None)
        if self.unknown == "ignore":
            self._met.note(index is not None, name, self.classes)
        if index is None and self.unknown == "error":
            raise RecordError(results["where"], f"its label {name!r:.60} is none of the {len(self.classes)} classes")
        return IGNORE_INDEX if index is None else index


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


class KnownShare:
    """Notice that a list of classes does not belong to the data: a loss over nothing is 0.0, and would go on for ever.

    Args:
        option: What gave the list, for the message.
    """

    def __init__(self, option: str) -> None:
        self.option, self.met, self.known = option, 0, 0

    def note(self, known: bool, name: str, classes: Mapping[str, int]) -> None:
        """Count a record of which a class is ``known`` or not; ``name`` is what it calls it.

        Raises:
            ValueError: If hardly one of the first records has a class.
        """
        if self.met >= _FIRST_RECORDS:
            return
        self.met, self.known = self.met + 1, self.known + known
        if self.met == _FIRST_RECORDS and self.known < _LEAST_KNOWN * _FIRST_RECORDS:
            near = next((one for one in classes if one.lower() == name.lower() and one != name), None)
            spelt = f", which is spelt {near!r} there" if near else suggestion(name, classes)
            raise ValueError(
                f"{self.option}: {self.met - self.known} of the first {self.met} records have no label among the "
                f"{len(classes)} classes, e.g. {name!r:.60}{spelt}. The list does not belong to these data."
            )


def _checked_range(number: float) -> float:
    if not -_MAX <= number <= _MAX:  # also where it is NaN
        raise ValueError("it is no finite number in range")
    return number


def _checked_class(number: int) -> int:
    if number != IGNORE_INDEX and number < 0:
        raise ValueError("there is no such class")
    return _checked_range(number)


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
    return isinstance(weight, int | float) and 0 <= weight <= _MAX


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


def read_classes(classes: Sequence[str] | str | PathLike, option: str) -> dict[str, int]:
    """From the name of a class to its number.

    Args:
        classes: The names in order, or a file: ``.json`` with a list of names or an object from name to number, or any
            other with one name a line.
        option: The name of the option, for messages.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it is neither, is empty, or has a class twice.
    """
    if isinstance(classes, str | PathLike):
        path = existing_file(classes, option)
        if path.suffix.lower() == ".json":
            classes = _from_json(path.read_text("utf-8-sig"), f"{option}: {path}")
        else:
            classes = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    if isinstance(classes, dict):
        return {name.strip(): number for name, number in classes.items()}
    numbers = {str(name).strip(): number for number, name in enumerate(classes)}
    if not numbers or len(numbers) < len(classes):
        problem = "names a class twice" if numbers else "is empty"
        raise ValueError(f"{option} {problem}; expected each class once")
    return numbers


def _from_json(text: str, where: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{where} is broken: {error}") from error
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    if isinstance(value, dict) and value and all(type(number) is int and number >= 0 for number in value.values()):
        return value
    raise ValueError(f"{where}: expected a list of names, or an object from name to number")


def _check_unknown(unknown: Any) -> None:
    if unknown not in UNKNOWN:
        raise ValueError(f"unknown is {unknown!r}.{suggestion(str(unknown), UNKNOWN)} Accepted: {', '.join(UNKNOWN)}.")
