"""Data loading bottlenecks: how long steps wait for batches, by stream, and a warning with the cure."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from x2vlm.data.streams import Stream

_WARNING_FRACTION = 0.2  # of the time; above it a warning is logged


class DataWaits:
    """Time spent waiting for the batches of each stream, since the last line of the log.

    A wait counts only if the device was idle when the batch arrived: while it computes, no time is lost. The first
    batch of a stream does not count, as its workers have just been started.

    Args:
        is_device_idle: Whether the device has finished all launched work.
        clock: The time in seconds.
    """

    def __init__(self, is_device_idle: Callable[[], bool], clock: Callable[[], float] = time.perf_counter) -> None:
        self.is_device_idle, self.clock = is_device_idle, clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def waiting_for(self, stream: str) -> Iterator[None]:
        """Time the drawing of a batch."""
        start = self.clock()
        yield
        waited = self.clock() - start if stream in self.seconds and self.is_device_idle() else 0.0
        self.seconds[stream] = self.seconds.get(stream, 0.0) + waited

    def report(self, streams: Mapping[str, Stream], steps: int, seconds: float) -> str | None:
        """The warning for the log, if more than a fifth of the time was spent waiting for data; resets the times.

        Args:
            streams: All streams by name.
            steps: Iterations since the last report.
            seconds: Time since the last report.
        """
        waited, slowest = sum(self.seconds.values()), max(self.seconds, key=self.seconds.get, default="")
        fraction = self.seconds.get(slowest, 0.0) / max(waited, 1e-9)
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        if not steps or waited <= _WARNING_FRACTION * seconds:
            return None
        workers = streams[slowest].num_workers
        now = f"now {workers}" if workers else "now 0: batches are prepared between the steps"
        return (
            f"a step waited {waited / steps:.2g} of {seconds / steps:.2g} s for data, {fraction:.0%} of it for stream "
            f"'{slowest}': raise streams.{slowest}.num_workers ({now}), or make its records cheaper to read."
        )
