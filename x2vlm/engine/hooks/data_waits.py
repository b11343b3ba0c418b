"""How long steps wait for their data, and for which stream."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from x2vlm.data.streams import Stream

_SHARE = 0.2  # of the time, above which it is told


class DataWaits:
    """Time spent waiting for the batches of each stream, since the last line of the log.

    A wait counts only if the device had nothing left to do when the batch was there; while it computes, nobody loses
    anything. The first batch of a stream does not count: its workers have just been started.

    Args:
        is_device_idle: Whether all that was launched has been done.
        clock: Seconds.
    """

    def __init__(self, is_device_idle: Callable[[], bool], clock: Callable[[], float] = time.perf_counter) -> None:
        self.is_device_idle, self.clock = is_device_idle, clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def waiting_for(self, stream: str) -> Iterator[None]:
        """Around the drawing of a batch."""
        began = self.clock()
        yield
        waited = self.clock() - began if stream in self.seconds and self.is_device_idle() else 0.0
        self.seconds[stream] = self.seconds.get(stream, 0.0) + waited

    def report(self, streams: Mapping[str, Stream], steps: int, seconds: float) -> str | None:
        """A sentence for the log, if more than a fifth of the time was waited for data; counts anew from here.

        Args:
            streams: All streams by name.
            steps: Iterations since the last report.
            seconds: Time since the last report.
        """
        waited, slowest = sum(self.seconds.values()), max(self.seconds, key=self.seconds.get, default="")
        share = self.seconds.get(slowest, 0.0) / max(waited, 1e-9)
        self.seconds = dict.fromkeys(self.seconds, 0.0)
        if not steps or waited <= _SHARE * seconds:
            return None
        workers = streams[slowest].num_workers
        now = f"now {workers}" if workers else "now 0: batches are prepared between the steps"
        return (
            f"a step waited {waited / steps:.2g} of {seconds / steps:.2g} s for data, {share:.0%} of it for stream "
            f"'{slowest}': raise streams.{slowest}.num_workers ({now}), or make its records cheaper to read."
        )
