"""Apply a function to every record of a data set, in several processes; a crash of a decoder costs one record."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, NamedTuple

from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.record import RecordError
from x2vlm.data.sampler import derive_seed, seeded

_CHUNK = 64  # records that a process reads at a time

RecordFunction = Callable[[Adapter, int], Any]
"""``(adapter, index) -> value``; raises RecordError where the record cannot be used."""


class RecordResult(NamedTuple):
    """The value of the function for one record, or why there is none."""

    index: int
    value: Any
    bad: BadRecord | None


def map_records(
    adapter: Adapter, function: RecordFunction, workers: int = 0, start: int = 0, stop: int | None = None
) -> Iterator[RecordResult]:
    """The function's value for every record, in order; records that cannot be used have ``bad`` instead.

    So has one that kills the process that reads it, as broken files do to some decoders: with workers it is found by
    bisection, and no other record is lost.

    Args:
        adapter: The data.
        function: Can be pickled. What it draws at random is the same in every call.
        workers: Processes; 0 reads in this one.
        start: First record.
        stop: Record before which to stop; None for all.
    """
    stop = len(adapter) if stop is None else min(stop, len(adapter))
    if not workers:
        for index in range(start, stop):
            yield _apply(adapter, function, index)
        return
    spans = iter([(first, min(first + _CHUNK, stop)) for first in range(start, stop, _CHUNK)])
    waiting: deque[tuple[tuple[int, int], Future]] = deque()
    pool = _pool(adapter, function, workers)
    try:
        while True:
            while len(waiting) < 4 * workers and (span := next(spans, None)):
                waiting.append((span, pool.submit(_apply_to_span, *span)))
            if not waiting:
                return
            span, future = waiting.popleft()
            try:
                yield from future.result()
            except BrokenProcessPool:  # all that were under way are lost with it; any of them may be the cause
                pool.shutdown(wait=False)
                for again in (span, *(other for other, _ in waiting)):
                    yield from _bisect(adapter, function, *again)
                waiting.clear()
                pool = _pool(adapter, function, workers)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _bisect(adapter: Adapter, function: RecordFunction, start: int, stop: int) -> Iterator[RecordResult]:
    """Read a span in a new process; if that dies, its halves, until the record is found."""
    try:
        with _pool(adapter, function, 1) as pool:
            results = pool.submit(_apply_to_span, start, stop).result()
    except BrokenProcessPool:
        if stop - start > 1:
            middle = (start + stop) // 2
            yield from _bisect(adapter, function, start, middle)
            yield from _bisect(adapter, function, middle, stop)
        else:
            reason = "the process that decoded it died of it"
            yield RecordResult(start, None, BadRecord(where_of(adapter, start), reason))
    else:
        yield from results


def where_of(adapter: Adapter, index: int) -> str:
    """The ``where`` of a record, whether or not it can be used."""
    try:
        return adapter.record(index)["where"]
    except RecordError as error:
        return error.where


_worker_state: dict[str, Any] = {}  # adapter and function, set when a worker process begins


def _pool(adapter: Adapter, function: RecordFunction, workers: int) -> ProcessPoolExecutor:
    # Not forked from this process: in a fork of one in which torch runs threads, it may hang.
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["x2vlm.data.inspection.map_records"])  # so that another process costs no import
    else:
        context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(adapter, function))


def _begin(adapter: Adapter, function: RecordFunction) -> None:
    import torch

    torch.set_num_threads(1)
    _worker_state.update(adapter=adapter, function=function)


def _apply_to_span(start: int, stop: int) -> list[RecordResult]:
    return [_apply(_worker_state["adapter"], _worker_state["function"], index) for index in range(start, stop)]


def _apply(adapter: Adapter, function: RecordFunction, index: int) -> RecordResult:
    with seeded(derive_seed(0, "map_records", index)):
        try:
            return RecordResult(index, function(adapter, index), None)
        except RecordError as error:
            return RecordResult(index, None, BadRecord(error.where, error.reason))
