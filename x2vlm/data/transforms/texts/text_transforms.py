"""Texts of a record: captions and questions about an image or clip, plain text, parallel text."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from x2vlm.data.record import Record, RecordError, identity, with_record_errors
from x2vlm.data.transforms.texts.field_texts import all_texts, choose_text
from x2vlm.data.transforms.texts.text_cleaning import (
    clean_caption,
    clean_or_strip,
    clean_question,
    clean_text,
    is_blank,
)
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PickCaption(BaseTransform):
    """Pair the image or clip with its caption: of a list one at random, of a dict one language at random.

    Args:
        language: Take this language of captions by language.
        max_words: Keep so many words; None keeps all (the tokens are cut anyway).
        clean: Clean the caption up; otherwise only its ends are stripped.
    """

    def __init__(self, language: str | None = None, max_words: int | None = None, clean: bool = True) -> None:
        self.language, self.max_words, self.clean = language, max_words, clean

    def transform(self, results: Record) -> Record:
        """Add the pair.

        Raises:
            RecordError: If there is no caption (in that language), or nothing is left of it.
        """
        text = with_record_errors(results, choose_text, _field(results, "caption"), self.language)
        return pairs_with_whole(
            results, [with_record_errors(results, clean_or_strip, text, self.max_words, self.clean)]
        )


@TRANSFORMS.register_module()
class AllCaptions(BaseTransform):
    """Pair the image or clip with all its captions, for evaluations: one image, its five captions.

    Captions of which nothing is left are left out and counted in ``extras["dropped_texts"]``.

    Args:
        language: Of captions by language, use this one; None uses all languages.
        max_words: Keep so many words of each; None keeps all. (Published evaluations: 30.)
        clean: Clean up as the published method does; False leaves case, punctuation and white-space.
    """

    def __init__(self, language: str | None = None, max_words: int | None = 30, clean: bool = True) -> None:
        self.language, self.max_words, self.clean = language, max_words, clean

    def transform(self, results: Record) -> Record:
        """Add the pairs.

        Raises:
            RecordError: If there is no caption (in that language), one is no text, or nothing is left of any.
        """
        texts = with_record_errors(results, all_texts, _field(results, "caption"), self.language)
        kept = [cleaned for text in texts if (cleaned := self._cleaned(text))]
        if not kept:
            raise RecordError(results["where"], f"nothing is left of its {len(texts)} captions, e.g. {texts[0]!r:.60}")
        extras = results.get("extras", {}) | {"dropped_texts": len(texts) - len(kept)}
        return pairs_with_whole(results | {"extras": extras}, kept)

    def _cleaned(self, text: str) -> str | None:
        """The caption as the model reads it; None if nothing is left."""
        if is_blank(text):
            return None
        if not self.clean:
            return text if self.max_words is None else " ".join(text.split()[: self.max_words])
        try:
            return clean_caption(text, self.max_words)
        except ValueError:  # punctuation alone
            return None


@TRANSFORMS.register_module()
class PickQuestion(BaseTransform):
    """Pair the image, images or clip with ``question``, cleaned up as published.

    A question is cleaned as a caption is, but inner spaces stay as they are, and only its right end is stripped.

    Args:
        language: Take this language of questions by language; None takes one at random.
        max_words: Keep so many words; None keeps all (the tokens are cut anyway).
        clean: Clean the question up; otherwise only its ends are stripped. ``"published"``: keep ``<``, ``>`` and line
            ends, as the release does.

    Raises:
        ValueError: If ``clean`` is something else.
    """

    def __init__(self, language: str | None = None, max_words: int | None = None, clean: bool | str = True) -> None:
        if clean not in (True, False, "published"):
            raise ValueError(f"clean is {clean!r}; expected True, False or 'published'")
        self.language, self.max_words, self.clean = language, max_words, clean

    def transform(self, results: Record) -> Record:
        """Add the pair.

        Raises:
            RecordError: If there is no question (in that language), or nothing is left of it.
        """
        text = with_record_errors(results, choose_text, _field(results, "question"), self.language)
        if self.clean:
            cleaned = with_record_errors(results, clean_question, text, self.max_words, self.clean == "published")
            return pairs_with_whole(results, [cleaned])
        return pairs_with_whole(results, [with_record_errors(results, clean_or_strip, text, self.max_words, False)])


@TRANSFORMS.register_module()
class PickText(BaseTransform):
    """Take ``text``, which has no context; where there is a ``text_pair``, both are encoded as a pair (GLUE).

    Args:
        max_words: Keep so many words; None keeps all.
        minimum_words: A shorter text is a bad record.
        language: Take this language of texts by language; None takes one at random.
        clean: Lower case, and runs of white-space become one space; otherwise only the ends are stripped, for a
            cased tokenizer.
    """

    def __init__(
        self,
        max_words: int | None = None,
        minimum_words: int = 1,
        language: str | None = None,
        clean: bool = True,
    ) -> None:
        self.max_words, self.minimum_words, self.language, self.clean = max_words, minimum_words, language, clean

    def transform(self, results: Record) -> Record:
        """Add the text, or both as a tuple.

        Raises:
            RecordError: If there is no text (in that language), or it is too short.
        """
        text = self._text(results, "text")
        text = text if "text_pair" not in results else (text, self._text(results, "text_pair"))
        return pairs_with_whole(results, [text])

    def _text(self, results: Record, name: str) -> str:
        text = with_record_errors(results, choose_text, _field(results, name), self.language)
        if self.clean:
            return with_record_errors(results, clean_text, text, self.max_words, self.minimum_words)
        if len(text.split()) < self.minimum_words:
            raise RecordError(results["where"], f"{text!r:.80} has fewer than {self.minimum_words} words")
        return with_record_errors(results, clean_or_strip, text, self.max_words, False)


@TRANSFORMS.register_module()
class PickPair(BaseTransform):
    """Take ``parallel`` in two languages: one is the text, the other its context, in random order.

    Args:
        languages: The two languages; None draws two of those of the record.
        max_words: Keep so many words; None keeps all.
        clean: Clean both up as captions; otherwise only their ends are stripped.

    Raises:
        ValueError: If ``languages`` are not two different ones.
    """

    def __init__(
        self, languages: Sequence[str] | None = None, max_words: int | None = None, clean: bool = True
    ) -> None:
        if languages is not None and (isinstance(languages, str) or len(set(languages)) != 2):
            raise ValueError(f"languages is {languages!r}; expected two different ones, or None")
        self.languages, self.max_words, self.clean = languages, max_words, clean

    def transform(self, results: Record) -> Record:
        """Add the text and ``context_text``.

        Raises:
            RecordError: If one of the languages is missing or empty.
        """
        by_language = _field(results, "parallel")
        languages = self.languages or [name for name, text in by_language.items() if text]
        if len(languages) < 2:
            raise RecordError(
                results["where"], f"parallel text needs two languages, got {', '.join(by_language) or 'none'}"
            )
        pair = [
            with_record_errors(results, choose_text, by_language, language)
            for language in random.sample(list(languages), 2)
        ]
        context, text = (
            with_record_errors(results, clean_or_strip, sentence, self.max_words, self.clean) for sentence in pair
        )
        return pairs_with_whole(results, [text]) | {"context_text": context}


def pairs_with_whole(results: Record, texts: Sequence[str | tuple[str, str]]) -> Record:
    """The record with these texts, each about the whole image or clip, all with the record's identity."""
    count = len(texts)
    results = results | {"texts": list(texts), "has_box": [False] * count, "ids": [identity(results)] * count}
    if "frames" not in results:
        return results
    height, width = results["frames"][0].shape[:2]
    boxes = np.tile(np.array([0, 0, width, height], dtype=np.float32), (count, 1))
    return results | {"boxes_xyxy_px": boxes}


def _field(results: Record, name: str) -> Any:
    if results.get(name) is None:
        raise RecordError(results["where"], f"there is no {name}")
    return results[name]
