"""Texts of one record of which one is right: answers to choose from, captions that are nearly true of an image."""

from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.data.record import Record, RecordError, identity, with_record_errors
from x2vlm.data.transforms.texts.text_cleaning import clean_caption, clean_question
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PickChoices(BaseTransform):
    """Every choice becomes a text of the record: the question, and one of the answers behind it (NExT-QA).

    The right one (number ``label`` of ``choices``) has label 1, the others 0. ``extras["answers"]`` gets the right one.

    Args:
        count: How many choices every record has.
        max_words: Keep so many words of the question; None keeps all.
    """

    def __init__(self, count: int = 5, max_words: int | None = None) -> None:
        if count < 2:
            raise ValueError(f"count is {count}; expected 2 choices or more")
        self.count, self.max_words = count, max_words

    def transform(self, results: Record) -> Record:
        """Add ``texts``, ``labels``, ``ids``, ``has_box``.

        Raises:
            RecordError: If there is no question, there are not ``count`` choices, or the label names none of them.
        """
        where, choices = results["where"], results.get("choices")
        if not isinstance(results.get("question"), str):
            raise RecordError(where, "there is no question")
        if not isinstance(choices, list) or len(choices) != self.count or not all(map(_is_text, choices)):
            raise RecordError(where, f"expected {self.count} answers to choose from, got {choices!r:.80}")
        right = self._right(results)
        question = with_record_errors(results, clean_question, results["question"], self.max_words)
        texts = [f"{question} {with_record_errors(results, clean_question, choice, None)}" for choice in choices]
        extras = results.get("extras", {}) | {"answers": [choices[right]]}
        labels = [int(number == right) for number in range(self.count)]
        return whole_texts(results, texts) | {"labels": labels, "extras": extras}

    def _right(self, results: Record) -> int:
        label = results.get("label")
        if not str(label).strip().isdigit() or not 0 <= int(label) < self.count:
            raise RecordError(
                results["where"], f"its label is {label!r:.60}; expected the number of the right answer, from 0"
            )
        return int(label)


@TRANSFORMS.register_module()
class PickHardNegatives(BaseTransform):
    """The caption becomes the first text of the record, captions that are nearly true the others.

    Args:
        max_words: Keep so many words of each; None keeps all.
        clean: Clean all up as captions; False leaves them as they are.
    """

    def __init__(self, max_words: int | None = 30, clean: bool = True) -> None:
        self.max_words, self.clean = max_words, clean

    def transform(self, results: Record) -> Record:
        """Add ``texts``, ``labels`` (1 for the caption, 0 for the others), ``ids``, ``has_box``.

        Raises:
            RecordError: If there is no caption or none that is wrong.
        """
        caption, negatives = results.get("caption"), results.get("negatives")
        negatives = [negatives] if isinstance(negatives, str) else negatives
        if (
            not _is_text(caption)
            or not isinstance(negatives, list)
            or not negatives
            or not all(map(_is_text, negatives))
        ):
            raise RecordError(
                results["where"],
                f"expected a caption and some that are wrong, got {caption!r:.60} and {negatives!r:.80}",
            )
        texts = [with_record_errors(results, self._ready, text) for text in (caption, *negatives)]
        return whole_texts(results, texts) | {"labels": [1] + [0] * len(negatives)}

    def _ready(self, text: str) -> str:
        return clean_caption(text, self.max_words) if self.clean else text.strip()


def whole_texts(results: Record, texts: list[str]) -> Record:
    """The record with several texts, each about all of its image or clip."""
    count = len(texts)
    made = results | {"texts": texts, "has_box": [False] * count, "ids": [identity(results)] * count}
    if "frames" not in results:
        return made
    height, width = results["frames"][0].shape[:2]
    return made | {"boxes_xyxy_px": np.tile(np.array([0, 0, width, height], dtype=np.float32), (count, 1))}


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
