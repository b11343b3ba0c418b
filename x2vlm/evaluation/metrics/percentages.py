"""Means in percent, over all examples and by group."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any


def percent(values: Sequence[float]) -> float:
    """Arithmetic mean of fractions (or bools), times 100."""
    return 100 * fmean(values)


def percent_by_group(values: Sequence[float], groups: Sequence[Any]) -> dict[Any, float]:
    """:func:`percent` of the values of each group, in the order of the groups' names; group None is left out."""
    names = sorted({group for group in groups if group is not None}, key=str)
    pairs = list(zip(values, groups, strict=True))
    return {name: percent([value for value, group in pairs if group == name]) for name in names}
