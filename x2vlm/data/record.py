"""One record of a data set: a dict that adapters make, transforms extend, and the last transform packs into a sample.

- ``where``: its location, e.g. ``train.jsonl:17``; always there.
- ``id``: identity of what it shows; two records with one identity show the same thing.
- ``own_id``: in joined data sets, the identity within its own data set.
- ``image``: a path, the bytes of an image, or an ``[H, W, 3]`` uint8 RGB array.
- ``images``: several of these, to all of which every text of the record attends (two in NLVR2).
- ``video``: the path or bytes of a video file, or a list of frames, each as ``image`` is.
- ``clips``: neighbouring clips in order, each with ``video`` and ``caption``; ``is_continuous`` is False where they do
  not continue each other.
- ``caption``: a string, a list of strings, or a dict from language to either.
- ``elems``: objects and regions of the image: ``bb`` (x, y, width, height in pixels), ``caption``, and perhaps
  ``attributes`` (a string or a list) and ``kind``. Names of categories are of kind ``object``, descriptions in words
  are of kind ``region``. ``extras`` of an element are for metrics.
- ``stated_size``: (width, height) of the image on which the boxes were annotated, where the annotation says it.
- ``boxes_are_shares``: boxes are shares of the image, from 0 to 1, until it is read.
- ``segment``: (start, end) of the part of ``video`` that is meant, in seconds; also of each clip.
- ``text``: a sentence of plain text; ``text_pair``: a second one, encoded with it as a pair (GLUE).
- ``parallel``: a dict from language to the same sentence.
- ``question``: as ``caption``; ``answers``: a list of strings, one for each annotator, or of (string, weight).
- ``choices``: answers one of which is right, in order; ``label`` is then its number.
- ``negatives``: captions that are not true of the image although they nearly are.
- ``crop_px``: x, y, width, height in pixels of the part of the image that is meant.
- ``label``: the class: its number or its name, or a number to predict.
- ``extras``: further fields for metrics; passed on unchanged.
"""

from collections.abc import Callable
from typing import Any

Record = dict[str, Any]

# What reading an entry raises whose shape is not the expected one; an adapter makes a RecordError of it.
MALFORMED = (KeyError, IndexError, TypeError, ValueError, OverflowError, AttributeError)

_LONGEST_REASON = 600  # characters


class RecordError(Exception):
    """One record that cannot be used; the others still can.

    Raised for every defect of a single record: a broken line, a missing or broken image, a box outside, an empty text.
    The streams count it, log it and go on. A wrong option or a missing annotation file is a ``ValueError`` or a
    ``FileNotFoundError`` when the adapter is made.

    Args:
        where: The location of the record, e.g. ``train.jsonl:17``.
        reason: What is wrong with it; cut where it quotes more of the data than anybody reads.
    """

    def __init__(self, where: str, reason: str) -> None:
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 4]} ..."
        super().__init__(where, reason)  # both in args: the error can be pickled by a worker process
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def identity(results: Record) -> str:
    """The identity of this image, clip or sentence; ``where`` of the record if it has none."""
    return str(results.get("id", results["where"]))


def with_record_errors(results: Record, function: Callable[..., Any], *args: Any) -> Any:
    """``function(*args)``, with a ValueError turned into a RecordError of the record.

    Raises:
        RecordError: If ``function`` raises a ValueError.
    """
    try:
        return function(*args)
    except ValueError as error:
        raise RecordError(results["where"], str(error)) from error
