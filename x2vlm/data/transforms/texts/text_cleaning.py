"""Text clean-up as published: case, punctuation, white-space and a limit of words."""

import re

_PUNCTUATION_TO_SPACE = str.maketrans(dict.fromkeys(",.'!?\"()*#:;~-/", " "))
_WIDTHLESS = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
_SPACES = re.compile(r"\s{2,}")


def clean_caption(text: str, max_words: int | None = None) -> str:
    """A caption, cleaned up as the published method does.

    Lower case; each of ``, . ' ! ? " ( ) * # : ; ~ - /`` becomes a space, ``<person>`` becomes ``person``, runs of
    white-space become one space, the ends are stripped.

    Args:
        text: The raw caption.
        max_words: Keep so many words; None keeps all. (Published: the number of tokens, which are cut later anyway.)

    Raises:
        ValueError: If nothing is left.
    """
    cleaned = _SPACES.sub(" ", _without_punctuation(text)).rstrip("\n").strip(" ")
    return _first_words(cleaned, max_words, text)


def clean_question(text: str, max_words: int | None = None, published: bool = False) -> str:
    """A question: as a caption, but inner spaces stay as they are, and only the right end is stripped.

    Args:
        text: The raw question.
        max_words: Keep so many words; None keeps all.
        published: Keep ``<`` and ``>`` of ``<person>``, and line ends wherever they are, as the release does.

    Raises:
        ValueError: If nothing is left.
    """
    if published:
        return _first_words(text.lower().translate(_PUNCTUATION_TO_SPACE).rstrip(" "), max_words, text)
    return _first_words(_without_punctuation(text).rstrip("\n").rstrip(" "), max_words, text)


def clean_text(text: str, max_words: int | None = None, minimum_words: int = 1) -> str:
    """A sentence of plain text: lower case and white-space only; punctuation stays.

    Raises:
        ValueError: If it has fewer than ``minimum_words`` words.
    """
    cleaned = _SPACES.sub(" ", text.lower()).rstrip("\n").strip(" ")
    if len(cleaned.split()) < minimum_words:
        raise ValueError(f"{text!r:.80} has fewer than {minimum_words} words")
    return _first_words(cleaned, max_words, text)


def clean_or_strip(text: str, max_words: int | None, clean: bool) -> str:
    """A caption, cleaned up, or only with its ends stripped.

    Raises:
        ValueError: If nothing is left.
    """
    if clean:
        return clean_caption(text, max_words)
    text = text.strip() if max_words is None else " ".join(text.split()[:max_words])
    if is_blank(text):
        raise ValueError("the text is empty")
    return text


def is_blank(text: str) -> bool:
    """Whether a text is empty, or white-space and characters without width alone."""
    return not text.translate(_WIDTHLESS).strip()


def _without_punctuation(text: str) -> str:
    return text.lower().translate(_PUNCTUATION_TO_SPACE).replace("<person>", "person")


def _first_words(text: str, max_words: int | None, raw: str) -> str:
    if max_words is not None:
        text = " ".join(text.split(" ")[:max_words])
    if is_blank(text):
        raise ValueError(f"nothing is left of the text {raw!r:.80} after clean-up")
    return text
