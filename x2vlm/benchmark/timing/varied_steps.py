"""Seconds of training steps whose shapes differ, beside those of the same step again and again."""

import statistics
from collections.abc import Sequence
from typing import Any

from x2vlm.benchmark.timing.measurement import Run, seconds_of, summary

Timed = tuple[dict[str, Any], list[float]]


def time_steps(steps: Sequence[tuple[Run, ...]], device: str = "cpu") -> tuple[list[Timed], int]:
    """Time every step on each side in turns, then one of them as often again.

    The first step, whose seconds stand apart, is not counted among the others. The one that is repeated is that of
    median seconds of the first side; its first repetition is not counted.

    Args:
        steps: For each step its runs on all sides; two or more steps.
        device: ``cpu`` or ``cuda``.

    Returns:
        For each side a summary of the steps that differ (``median``, ``least``, ``greatest``, ``spread``) with
        ``first`` (seconds), ``repeated`` (median seconds of the step that is repeated) and ``varied_by_repeated``, and
        the seconds of each step that differs; and the number of the step that was repeated.

    Raises:
        ValueError: If there are fewer than two steps.
    """
    if len(steps) < 2:
        raise ValueError(f"{len(steps)} step; expected 2 or more, as the first is not counted.")
    varied = _in_turns(steps, device)
    seconds = varied[0][1:]
    middle = 1 + seconds.index(statistics.median_low(seconds))
    repeated = _in_turns([steps[middle]] * len(steps), device)
    return [_figures(*both) for both in zip(varied, repeated, strict=True)], middle


def _in_turns(steps: Sequence[tuple[Run, ...]], device: str) -> list[list[float]]:
    """Seconds of each side at every step; the sides take turns at being first."""
    seconds: list[list[float]] = [[] for _ in steps[0]]
    for number, runs in enumerate(steps):
        order = range(len(runs)) if number % 2 == 0 else reversed(range(len(runs)))
        for side in order:
            seconds[side].append(seconds_of(runs[side], device))
    return seconds


def _figures(varied: list[float], repeated: list[float]) -> Timed:
    figures, repeated_median = summary(varied[1:]), statistics.median(repeated[1:])
    extra = {"first": varied[0], "repeated": repeated_median, "varied_by_repeated": figures["median"] / repeated_median}
    return figures | extra, varied[1:]
