"""A whole data set read once, in several processes, whatever is in it; and what is found on the way, in figures."""

import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import Record, RecordError
from x2vlm.data.sampler import derive_seed, seeded
from x2vlm.data.transforms.elements import box_inside
from x2vlm.data.transforms.frames import SampleFrames
from x2vlm.data.transforms.image import LoadImage

_CHUNK = 64  # records that a process reads at a time
PERCENTILES = (0, 1, 5, 25, 50, 75, 95, 99, 100)

Look = Callable[[Adapter, int], Any]


class Seen(NamedTuple):
    """What looking at one record gave: a value, or why there is none."""

    index: int
    value: Any
    bad: BadRecord | None


class Depict:
    """A transform that decodes whatever a record shows into ``frames``; of a video, a few frames.

    Args:
        num_frames: Frames of a video.
        reader: The video reader.
    """

    def __init__(self, num_frames: int = 3, reader: dict | Any = dict(type="DecordReader")) -> None:  # noqa: B006
        self.image = LoadImage()
        self.video = SampleFrames(num_frames, training=False, reader=reader)

    def __call__(self, record: Record) -> Record:
        """Add ``frames``, where the record shows anything.

        Raises:
            RecordError: If it cannot be decoded; ``where`` is the record's place.
        """
        still = "image" in record or record.get("images")
        if not still and "video" not in record and not record.get("clips"):
            return record
        try:
            return self.image(record) if still else self.video(record)
        except RecordError as error:  # that of a reader names the file
            raise error if error.where == record["where"] else RecordError(record["where"], str(error)) from error


def read_all(adapter: Adapter, look: Look, workers: int = 0, start: int = 0, stop: int | None = None) -> Iterator[Seen]:
    """Look at every record once, in order; a record that cannot be used is told like any other.

    So is one that kills the process that reads it, as broken files do to some decoders: with workers it is found by
    reading its neighbours again one by one, and the others lose nothing by it.

    Args:
        adapter: The data.
        look: ``(adapter, index) -> value``, which can be sent to another process. What it draws at random is the same
            in every call.
        workers: Processes; 0 reads in this one.
        start: First record.
        stop: Record before which to stop; None for all.
    """
    stop = len(adapter) if stop is None else min(stop, len(adapter))
    if not workers:
        for index in range(start, stop):
            yield _seen(adapter, look, index)
        return
    spans = iter([(first, min(first + _CHUNK, stop)) for first in range(start, stop, _CHUNK)])
    waiting: deque[tuple[tuple[int, int], Future]] = deque()
    pool = _pool(adapter, look, workers)
    try:
        while True:
            while len(waiting) < 4 * workers and (span := next(spans, None)):
                waiting.append((span, pool.submit(_look_at, *span)))
            if not waiting:
                return
            span, future = waiting.popleft()
            try:
                yield from future.result()
            except BrokenProcessPool:  # all that were under way are lost with it; any of them may be the cause
                pool.shutdown(wait=False)
                for again in (span, *(other for other, _ in waiting)):
                    yield from _carefully(adapter, look, *again)
                waiting.clear()
                pool = _pool(adapter, look, workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _carefully(adapter: Adapter, look: Look, start: int, stop: int) -> Iterator[Seen]:
    """Read a span in a process of its own; if that dies, its halves, until the record is found."""
    try:
        with _pool(adapter, look, 1) as pool:
            seen = pool.submit(_look_at, start, stop).result()
    except BrokenProcessPool:
        if stop - start > 1:
            middle = (start + stop) // 2
            yield from _carefully(adapter, look, start, middle)
            yield from _carefully(adapter, look, middle, stop)
        else:
            yield Seen(start, None, BadRecord(place(adapter, start), "the process that decoded it died of it"))
    else:
        yield from seen


def place(adapter: Adapter, index: int) -> str:
    """Where a record stands, whether or not it can be used."""
    try:
        return adapter.record(index)["where"]
    except RecordError as error:
        return error.where


_here: dict[str, Any] = {}  # what a worker process was given when it began


def _pool(adapter: Adapter, look: Look, workers: int) -> ProcessPoolExecutor:
    # Not forked from this process: in a fork of one in which torch runs threads, it may hang.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["x2vlm.data.tools.dataset_report"])  # so that another process costs no import
    else:
        context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(adapter, look))


def _begin(adapter: Adapter, look: Look) -> None:
    import torch

    torch.set_num_threads(1)
    _here.update(adapter=adapter, look=look)


def _look_at(start: int, stop: int) -> list[Seen]:
    return [_seen(_here["adapter"], _here["look"], index) for index in range(start, stop)]


def _seen(adapter: Adapter, look: Look, index: int) -> Seen:
    with seeded(derive_seed(0, "survey", index)):
        try:
            return Seen(index, look(adapter, index), None)
        except RecordError as error:
            return Seen(index, None, BadRecord(error.where, error.reason))


class Facts(NamedTuple):
    """What one record is.

    Attributes:
        id: Its identity.
        size: Width and height in pixels of what it shows; None where it shows nothing.
        words: Number of words of each caption or text.
        languages: The language of each, where it is known.
        boxes: For each usable element its width, height (both in pixels) and share of the picture.
        unusable: What is wrong with each element that cannot be used.
        kinds: The kind of each element.
    """

    id: str
    size: tuple[int, int] | None
    words: list[int]
    languages: list[str]
    boxes: list[tuple[float, float, float]]
    unusable: list[str]
    kinds: list[str]


class Examine:
    """Look at a record as training would: through the adapter's pipeline, or decoded only, if nothing there decodes."""

    def __init__(self) -> None:
        self.depict = Depict()

    def __call__(self, adapter: Adapter, index: int) -> Facts:
        """The facts of a record.

        Raises:
            RecordError: If the adapter or a step of its pipeline refuses it.
        """
        result = adapter[index]
        if isinstance(result, dict) and "frames" not in result:
            result = self.depict(result)
        extras = result.get("extras", {}) if isinstance(result, dict) else result.extras
        height, width = extras.get("image_size") or (0, 0)
        return facts_of(adapter.record(index), (width, height) if width else None)


def facts_of(record: Record, size: tuple[int, int] | None) -> Facts:
    """The facts of a record that shows something of ``size`` (width, height in pixels)."""
    texts = [
        pair for key in ("caption", "question", "text", "text_pair", "parallel") for pair in _texts(record.get(key))
    ]
    texts += [text for clip in record.get("clips") or () for text in _texts(clip.get("caption"))]
    boxes, unusable = [], []
    for number, elem in enumerate(record.get("elems") or ()):
        try:
            x0, y0, x1, y1 = box_inside(elem, *(size or (0, 0)))
            boxes.append((x1 - x0, y1 - y0, (x1 - x0) * (y1 - y0) / (size[0] * size[1])))
        except ValueError as error:
            unusable.append(f"elems[{number}] {str(elem.get('caption'))[:40]!r}: {error}")
    return Facts(
        id=str(record["id"]),
        size=size,
        words=[len(text.split()) for _, text in texts],
        languages=[language for language, _ in texts if language],
        boxes=boxes,
        unusable=unusable,
        kinds=[str(elem.get("kind") or "not said") for elem in record.get("elems") or ()],
    )


def _texts(value: Any, language: str = "") -> list[tuple[str, str]]:
    """(language, text) of a caption in any of its shapes."""
    if isinstance(value, dict):
        return [pair for name, inner in value.items() for pair in _texts(inner, name)]
    if isinstance(value, list | tuple):
        return [pair for inner in value for pair in _texts(inner, language)]
    return [(language, value)] if isinstance(value, str) else []


@dataclass
class Survey:
    """Figures of a data set, gathered record by record.

    Attributes:
        records: Records read.
        bad: Those that cannot be used.
        unusable: Elements that cannot be used, in records that can: place and reason.
    """

    records: int = 0
    bad: list[BadRecord] = field(default_factory=list)
    unusable: list[BadRecord] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    languages: Counter[str] = field(default_factory=Counter)
    _ids: list[int] = field(default_factory=list)
    _indices: list[int] = field(default_factory=list)
    _values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, seen: Seen, adapter: Adapter) -> None:
        """Enter what was seen of one record."""
        self.records += 1
        if seen.bad:
            self.bad.append(seen.bad)
            return
        facts: Facts = seen.value
        self._ids.append(derive_seed(facts.id))
        self._indices.append(seen.index)
        if facts.size:
            width, height = facts.size
            self._note(width=width, height=height, megapixels=width * height / 1e6, aspect=width / height)
        self._note(captions=len(facts.words))
        for words in facts.words:
            self._note(words=words)
        if facts.kinds:
            self._note(elements=len(facts.kinds))
        for width, height, share in facts.boxes:
            self._note(box_width=width, box_height=height, box_share=share, box_aspect=width / height)
        if facts.unusable:
            where = place(adapter, seen.index)
            self.unusable += [BadRecord(where, reason) for reason in facts.unusable]
        self.kinds.update(facts.kinds)
        self.languages.update(facts.languages)

    def _note(self, **values: float) -> None:
        for name, value in values.items():
            self._values.setdefault(name, []).append(value)

    def percentiles(self) -> dict[str, dict[str, float]]:
        """For every figure its count, mean and :data:`PERCENTILES`."""
        return {name: _spread(values) for name, values in self._values.items()}

    def duplicates(self, adapter: Adapter, named: int = 20) -> tuple[int, list[dict[str, Any]]]:
        """How many identities several records have, and where the first of them are."""
        ids, order = np.array(self._ids, dtype=np.int64), None
        order = np.argsort(ids, kind="stable")
        _, starts, counts = np.unique(ids[order], return_index=True, return_counts=True)
        several = np.flatnonzero(counts > 1)
        groups = [order[starts[i] : starts[i] + counts[i]] for i in several]
        groups.sort(key=lambda group: group[0])
        told = [[adapter.record(self._indices[i]) for i in group[:5].tolist()] for group in groups[:named]]
        return len(several), [
            {"id": str(records[0]["id"]), "records": len(group), "where": [record["where"] for record in records]}
            for records, group in zip(told, groups, strict=False)
        ]


def _spread(values: Sequence[float]) -> dict[str, float]:
    array = np.asarray(values, dtype=np.float64)
    marks = np.percentile(array, PERCENTILES).tolist()
    return {
        "count": len(array),
        "mean": float(array.mean()),
        **{f"p{p}": mark for p, mark in zip(PERCENTILES, marks, strict=True)},
    }
