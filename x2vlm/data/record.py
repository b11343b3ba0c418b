"""One record of a data set: a dict that adapters fill, transforms extend, and the last transform makes a sample of.

- ``where``: its place, e.g. ``train.jsonl:17``; always there.
- ``id``: identity of what it shows; two records with one identity show the same thing.
- ``own_id``: in joined data sets, the identity within its own data set.
- ``image``: a path, the bytes of an image, or an ``[H, W, 3]`` uint8 RGB array.
- ``images``: several of these, which every text of the record reads together (two in NLVR2).
- ``video``: the path or bytes of a video file, or a list of frames, each as ``image`` is.
- ``clips``: neighbouring clips in order, each with ``video`` and ``caption``.
- ``caption``: a string, a list of strings, or a dict from language to either.
- ``elems``: objects and regions of the image: ``bb`` (x, y, width, height in pixels), ``caption``, and perhaps
  ``attributes`` (a string or a list) and ``kind``. Names of categories are of kind ``object``, descriptions in words
  are of kind ``region``. ``extras`` of an element are for metrics.
- ``stated_size``: (width, height) of the image on which the boxes were annotated, where the annotation says it.
- ``boxes_are_shares``: boxes are shares of the image, from 0 to 1, until it is read.
- ``segment``: (start, end) of the part of ``video`` that is meant, in seconds; also of each clip.
- ``text``: a sentence of plain text; ``text_pair``: a second one that is read with it (GLUE).
- ``parallel``: a dict from language to the same sentence.
- ``question``: as ``caption``; ``answers``: a list of strings, one for each annotator, or of (string, weight).
- ``label``: the class: its number or its name, or a number to predict.
- ``extras``: what a metric needs besides; passed on untouched.
"""

from collections.abc import Callable
from typing import Any

Record = dict[str, Any]

_LONGEST_REASON = 600  # characters


class RecordError(Exception):
    """One record that cannot be used; the others still can.

    Raised for whatever is wrong with a single record: a broken line, a missing or broken image, a box outside, an empty
    text. The streams count it, name it and go on. A wrong option or a missing annotation file is a ``ValueError`` or a
    ``FileNotFoundError`` when the adapter is made.

    Args:
        where: The place of the record, e.g. ``train.jsonl:17``.
        reason: What is wrong with it; cut where it quotes more of the data than anybody reads.
    """

    def __init__(self, where: str, reason: str) -> None:
        reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 4]} ..."
        super().__init__(where, reason)  # both in args: the error survives the way out of a worker process
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


def identity(results: Record) -> str:
    """What tells this image, clip or sentence from others; the record's place where nothing is known."""
    return str(results.get("id", results["where"]))


def with_record_errors(results: Record, work: Callable[..., Any], *args: Any) -> Any:
    """``work(*args)``, whose complaint about a text becomes an error of the record.

    Raises:
        RecordError: If ``work`` raises a ValueError.
    """
    try:
        return work(*args)
    except ValueError as error:
        raise RecordError(results["where"], str(error)) from error
