"""Labels of records: classes by number or name, and numbers to predict."""

from collections.abc import Sequence
from os import PathLike
from typing import Any

from mmcv.transforms import BaseTransform

from x2vlm.building import suggestion
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.record import Record, RecordError
from x2vlm.data.transforms.class_names import KnownShare, read_classes
from x2vlm.registry import TRANSFORMS

UNKNOWN = ("error", "ignore")
TRUTH = {"true": 1, "false": 0}

MAX_NUMBER = 2**31  # of a class and of a weight: beyond are typing errors, and numbers that a tensor cannot hold


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

    Attributes:
        num_classes: Labels that are numbers of classes must be below it; None: whatever they are. Training and
            evaluation set that of the model's objective.

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
        self.num_classes: int | None = None

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
                return self._known_class(_class_number(label), results)
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

    def _known_class(self, number: int, results: Record) -> int:
        if self.num_classes is None or number < self.num_classes:
            return number
        if self.unknown == "error":
            reason = f"its label is {number}, but the model has classes from 0 to {self.num_classes - 1}"
            raise RecordError(results["where"], reason)
        return IGNORE_INDEX


def _class_number(label: Any) -> int:
    return TRUTH[str(label).lower()] if str(label).lower() in TRUTH else _checked_class(int(label))


def _checked_range(number: float) -> float:
    if not -MAX_NUMBER <= number <= MAX_NUMBER:  # also where it is NaN
        raise ValueError("it is no finite number in range")
    return number


def _checked_class(number: int) -> int:
    if number != IGNORE_INDEX and number < 0:
        raise ValueError("there is no such class")
    return _checked_range(number)


def _check_unknown(unknown: Any) -> None:
    if unknown not in UNKNOWN:
        raise ValueError(f"unknown is {unknown!r}.{suggestion(str(unknown), UNKNOWN)} Accepted: {', '.join(UNKNOWN)}.")
