"""Facts of one record: image size, words and languages of its texts, boxes and kinds of its elements."""

from os import PathLike
from typing import Any, NamedTuple

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.decode_media import DecodeMedia
from x2vlm.data.io.box_rules import conventions_that_fit
from x2vlm.data.record import Record
from x2vlm.data.transforms.elements import box_inside, on_real_size


class RecordFacts(NamedTuple):
    """Facts of one record.

    Attributes:
        id: Its identity.
        size: Width and height in pixels of its image or frames; None where it has none.
        words: Number of words of each caption or text.
        languages: The language of each, where it is known.
        boxes: For each usable element its width, height (both in pixels) and share of the image.
        unusable: What is wrong with each element that cannot be used.
        kinds: The kind of each element.
        conventions: By which other conventions the box of each unusable element would lie in the image.
        file: The file of its image or video, where it is one.
    """

    id: str
    size: tuple[int, int] | None
    words: list[int]
    languages: list[str]
    boxes: list[tuple[float, float, float]]
    unusable: list[str]
    kinds: list[str]
    conventions: list[set[str]]
    file: str | None


class ExtractFacts:
    """Facts of a record after the adapter's pipeline; what the pipeline does not decode is decoded here."""

    def __init__(self) -> None:
        self.decode = DecodeMedia()

    def __call__(self, adapter: Adapter, index: int) -> RecordFacts:
        """The facts of a record.

        Raises:
            RecordError: If the adapter or a step of its pipeline refuses it.
        """
        result = adapter[index]
        if isinstance(result, dict) and "frames" not in result:
            result = self.decode(result)
        extras = result.get("extras", {}) if isinstance(result, dict) else result.extras
        height, width = extras.get("image_size") or (0, 0)
        return facts_of(adapter.record(index), (width, height) if width else None)


def facts_of(record: Record, size: tuple[int, int] | None) -> RecordFacts:
    """The facts of a record whose image or frames have ``size`` (width, height in pixels)."""
    texts = [
        pair for key in ("caption", "question", "text", "text_pair", "parallel") for pair in _texts(record.get(key))
    ]
    texts += [text for clip in record.get("clips") or () for text in _texts(clip.get("caption"))]
    if size is not None and record.get("elems"):  # as what has been read; sizes that do not fit are reported there
        record = on_real_size(record, size[::-1], rescale=True)
    boxes, unusable, conventions = [], [], []
    for number, elem in enumerate(record.get("elems") or ()):
        try:
            x0, y0, x1, y1 = box_inside(elem, *(size or (0, 0)))
            boxes.append((x1 - x0, y1 - y0, (x1 - x0) * (y1 - y0) / (size[0] * size[1])))
        except ValueError as error:
            unusable.append(f"elems[{number}] {str(elem.get('caption'))[:40]!r}: {error}")
            conventions.append(conventions_that_fit(elem.get("bb"), *(size or (0, 0))))
    shown = record.get("image", record.get("video"))
    return RecordFacts(
        id=str(record["id"]),
        size=size,
        words=[len(text.split()) for _, text in texts],
        languages=[language for language, _ in texts if language],
        boxes=boxes,
        unusable=unusable,
        kinds=[str(elem.get("kind") or "not said") for elem in record.get("elems") or ()],
        conventions=conventions,
        file=str(shown) if isinstance(shown, str | PathLike) else None,
    )


def _texts(value: Any, language: str = "") -> list[tuple[str, str]]:
    """(language, text) of a caption in any of its shapes."""
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _texts(inner, name)]
    if isinstance(value, list | tuple):
        return [pair for inner in value for pair in _texts(inner, language)]
    return [(language, value)] if isinstance(value, str) else []
