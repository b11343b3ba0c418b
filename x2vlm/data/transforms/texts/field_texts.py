"""Texts of a record's field, which may be a string, a list of strings, or a dict from language to either."""

import random
from collections.abc import Sequence
from typing import Any

from x2vlm.data.transforms.texts.text_cleaning import is_blank


def choose_text(value: str | Sequence | dict, language: str | None = None) -> str:
    """One text: of a list a random one, of a dict by language a random language unless one is named.

    Of a list, empty texts are left out.

    Raises:
        ValueError: If there is none (in that language), or it is not a string.
    """
    if isinstance(value, dict):
        value = _in_language(value, language)
    if isinstance(value, list | tuple):
        value = [text for text in value if not (isinstance(text, str) and is_blank(text))]
        if not value:
            raise ValueError("the list of texts is empty")
        value = random.choice(value)
    return _checked(value)


def all_texts(value: str | Sequence | dict, language: str | None = None) -> list[str]:
    """All texts, in order: those of a list, and of every language of a dict unless one is named.

    Raises:
        ValueError: If there is none (in that language), or one is not a string.
    """
    if isinstance(value, dict):
        if language is None:
            return [text for texts in value.values() if texts for text in all_texts(texts)] or all_texts([])
        value = _in_language(value, language)
    texts = [_checked(text) for text in (value if isinstance(value, list | tuple) else [value])]
    if not texts:
        raise ValueError("the list of texts is empty")
    return texts


def _in_language(by_language: dict, language: str | None) -> Any:
    available = [name for name, texts in by_language.items() if texts]
    if language is None and available:
        return by_language[random.choice(available)]
    if language not in available:
        listed = ", ".join(map(str, available)) or "none"
        raise ValueError(f"there is no text in language {language!r}, only in: {listed}")
    return by_language[language]


def _checked(text: Any) -> str:
    if not isinstance(text, str):
        raise ValueError(f"expected a text, got {text!r:.80}")
    try:
        text.encode()  # JSON can hold half a surrogate pair, at which tokenizers break
    except UnicodeEncodeError as error:
        raise ValueError(f"the text {text!r:.80} has a character that is not complete") from error
    return text
