"""Names of classes: read from a file, and noticed where they do not belong to the data."""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

from x2vlm.building import suggestion
from x2vlm.data.io.paths import existing_file

_FIRST_RECORDS, _LEAST_KNOWN = 100, 0.05  # after so many records at least this share must have had a class


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
