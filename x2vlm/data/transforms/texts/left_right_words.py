"""Texts that mention left or right, whose images must not be mirrored."""

import re
from typing import Any

from x2vlm.data.record import Record

# Left and right, by the beginnings of words; a false match only leaves an image unflipped.
_SIDES = re.compile(
    r"\b(?:left|right"  # English: also leftmost, right-hand
    r"|link[es]|recht[es]|gauche|droit|izquierd|derech|sinistr|destr|esquerd|direit"  # German, Romance languages
    r"|vlevo|nalevo|zleva|lev[ýáéo]|vpravo|napravo|zprava|prav[ýáéo])"  # Czech
    r"|[左右]",  # Chinese, Japanese
    re.IGNORECASE,
)


def mentions_side(text: str) -> bool:
    """Whether the text mentions left or right, so that it would be wrong for the mirrored image.

    Knows English, German, French, Spanish, Italian, Portuguese, Czech, Chinese and Japanese. When in doubt, yes.
    """
    return _SIDES.search(text) is not None


def texts_of_record(results: Record) -> list[str]:
    """Every text of the record's pairs and elements, its question and its answers."""
    texts = [text for key in ("texts", "question", "answers") for text in _strings(results.get(key))]
    for elem in results.get("elems", ()):
        texts += [*_strings(elem.get("caption")), *_strings(elem.get("attributes"))]
    return texts


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [text for each in value for text in _strings(each)] if isinstance(value, list | tuple) else []
