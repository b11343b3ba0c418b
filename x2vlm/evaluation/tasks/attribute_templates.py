"""Attributes of the OVAD benchmark, and the sentences that describe an object with an attribute."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ARTICLES = ("a", "the", "a photo of a", "a photo of the")
OBJECT_TEMPLATES = ("{object}", *(f"{article} {{object}}" for article in _ARTICLES))
TEMPLATES = {
    "is": (
        "{attribute} {object}",
        *(f"{article} {{attribute}} {{object}}" for article in _ARTICLES),
        *(f"{article} {{object}} that is {{attribute}}" for article in _ARTICLES),
    ),
    "has": (
        "{attribute} {kind} {object}",
        *(f"{article} {{attribute}} {{kind}} {{object}}" for article in _ARTICLES),
        *(f"{article} {{object}} with {{attribute}} {{kind}}" for article in _ARTICLES),
    ),
}


@dataclass(frozen=True)
class Attribute:
    """An attribute of objects.

    Attributes:
        kind: Its category, e.g. ``hair color``.
        synonyms: Words for it.
        verb: ``is`` or ``has``: which templates apply.
        frequency: ``head``, ``medium``, ``tail``, or empty where unknown.
    """

    kind: str
    synonyms: tuple[str, ...]
    verb: str = "is"
    frequency: str = ""


def read_attributes(source: str | Path | Sequence[Mapping[str, Any]]) -> list[Attribute]:
    """Attributes of the benchmark's annotation file, or of a list like the one in it, in the order of the labels.

    Raises:
        ValueError: If there are none, or one has no name.
        FileNotFoundError: If there is no such file.
    """
    entries: Any = source
    if isinstance(source, (str, Path)):
        entries = json.loads(Path(source).read_text(encoding="utf-8"))
        entries = entries.get("attributes", ()) if isinstance(entries, Mapping) else entries
    if not entries:
        raise ValueError(f"{source if isinstance(source, (str, Path)) else 'attributes'}: there are no attributes.")
    for position, entry in enumerate(entries):
        if not entry.get("name"):
            raise ValueError(f"attribute {position} has no name. Given: {', '.join(entry) or 'nothing'}.")
    has_ids = all("id" in entry for entry in entries)
    return [_attribute(entry) for entry in (sorted(entries, key=lambda entry: entry["id"]) if has_ids else entries)]


def _attribute(entry: Mapping[str, Any]) -> Attribute:
    kind, _, words = entry["name"].rpartition(":")
    synonyms = tuple(word.strip() for word in words.split("/") if word.strip())
    return Attribute(kind.replace(" tone", ""), synonyms, entry.get("is_has_att", "is"), entry.get("freq_set", ""))
