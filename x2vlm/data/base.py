"""What every dataset adapter is: a look-up from a number to a record, and a pipeline from a record to a sample.

A record is a dict. An adapter fills in what it has; transforms add to it, and the last one makes a sample of it.

- ``where``: its place, e.g. ``train.jsonl:17``; always there.
- ``id``: identity of what it shows; two records with one identity show the same thing.
- ``image``: a path, the bytes of a picture, or an ``[H, W, 3]`` uint8 RGB array.
- ``images``: several of these, which every text of the record reads together (two in NLVR2).
- ``video``: the path or bytes of a video file, or a list of frames, each as ``image`` is.
- ``clips``: neighbouring clips in order, each with ``video`` and ``caption``; ``is_continuous`` is False where they do
  not continue each other.
- ``caption``: a string, a list of strings, or a dict from language to either.
- ``elems``: objects and regions of the image: ``bb`` (x, y, width, height in pixels), ``caption``, and perhaps
  ``attributes`` (a string or a list) and ``kind``. Names of categories are of kind ``object``, descriptions in words
  are of kind ``region``. ``extras`` of an element are for metrics.
- ``text``: a sentence of plain text; ``text_pair``: a second one that is read with it (GLUE).
- ``parallel``: a dict from language to the same sentence.
- ``question``: as ``caption``; ``answers``: a list of strings, one for each annotator, or of (string, weight).
- ``choices``: answers one of which is right, in order; ``label`` is then its number.
- ``negatives``: captions that are not true of the image although they nearly are.
- ``label``: the class: its number or its name, or a number to predict.
- ``extras``: what a metric needs besides; passed on untouched.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import Dataset

from x2vlm.building import build
from x2vlm.data.limits import Limits
from x2vlm.registry import TRANSFORMS

Record = dict[str, Any]


class RecordError(Exception):
    """One record that cannot be used; the others still can.

    Raised for whatever is wrong with a single record: a broken line, a missing or broken image, a box outside, an empty
    text. The streams count it, name it and go on. A wrong option or a missing annotation file is a ``ValueError`` or a
    ``FileNotFoundError`` when the adapter is made.

    Args:
        where: The place of the record, e.g. ``train.jsonl:17``.
        reason: What is wrong with it.
    """

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(where, reason)  # both in args: the error survives the way out of a worker process
        self.where = where
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


class Adapter(Dataset, ABC):
    """An annotation format made into numbered records, each a dict.

    An adapter holds no open file, so it can be sent to worker processes, forked or spawned.

    Args:
        pipeline: Transforms, in order: dicts for the TRANSFORMS registry, or callables from record to record. The last
            one makes a :class:`~x2vlm.data.batch.Sample`. Empty: records come out as they are.
        limits: How much a record may be, see :class:`~x2vlm.data.limits.Limits`.
    """

    metainfo: dict = {}  # noqa: RUF012  (MMEngine reads it, nobody writes to it)
    paths: tuple[str, ...] = ()
    """Arguments that are paths, or lists or dicts of paths: those a config's ``data_root`` stands in front of."""
    paths_or_names: tuple[str, ...] = ()
    """Arguments that are the path of a file with names if they are one string, and the names if they are a list."""

    limits = Limits.of(None)  # of adapters that begin in a way of their own

    def __init__(self, pipeline: Sequence[dict | Callable] = (), limits: dict | Limits | None = None) -> None:
        self.limits = Limits.of(limits)
        self.pipeline = [build(TRANSFORMS, step, path=f"pipeline[{i}]") for i, step in enumerate(pipeline)]

    @abstractmethod
    def __len__(self) -> int:
        """Number of records."""

    @abstractmethod
    def record(self, index: int) -> Record:
        """The record at ``index``: look-up and parsing only, without randomness.

        Raises:
            RecordError: If this record cannot be used.
        """

    def __getitem__(self, index: int) -> Any:
        """The record at ``index`` after all transforms.

        Raises:
            RecordError: If the record, or a file it names, cannot be used; ``where`` is the record's place.
            IndexError: If there is no such record.
        """
        self._check(index)
        result = self.record(index)
        excess = self.limits.excess(result)
        if excess is not None:
            raise RecordError(result["where"], excess)
        return through(self.pipeline, result, result["where"])

    def _check(self, index: int) -> None:
        if not 0 <= index < len(self):
            raise IndexError(f"{type(self).__name__} has no record {index}: it has {len(self)}, counted from 0")


def through(pipeline: Sequence[Callable], record: Record, where: str) -> Any:
    """The record after all transforms of a pipeline.

    Raises:
        RecordError: If one of them cannot use it; ``where`` is its place.
    """
    for step in pipeline:
        record = _applied(step, record, where)
    return record


def _applied(step: Callable, record: Record, where: str) -> Any:
    try:
        result = step(record)
    except RecordError as error:
        if error.where == where:
            raise
        raise RecordError(where, str(error)) from error
    except OSError as error:  # mmcv's and other people's loaders: a file that cannot be read
        raise RecordError(where, f"{type(step).__name__}: {error}") from error
    if result is None:  # how mmcv's transforms drop a record
        raise RecordError(where, f"{type(step).__name__} dropped it")
    return result
