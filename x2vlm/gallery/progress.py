"""Progress of a long task: a live line on a terminal, and a line in the log from time to time."""

import sys
import time
from typing import Any

from mmengine.logging import print_log
from tqdm import tqdm

from x2vlm.distributed import rank


class Progress:
    """Counts finished items of the first process, as a context manager; the other processes log nothing.

    Args:
        task: What is done, e.g. ``"encoding"``.
        total: Items of this process.
        unit: Name of the items.
        seconds: Between two lines of the log.
    """

    def __init__(self, task: str, total: int, unit: str, seconds: float = 30.0) -> None:
        self.task, self.total, self.unit, self.seconds = task, total, unit, seconds
        self.done, self._bar = 0, None

    def __enter__(self) -> "Progress":
        self._start = self._last_log = time.monotonic()
        if rank() == 0 and sys.stderr.isatty():
            self._bar = tqdm(total=self.total, desc=self.task, unit=f" {self.unit}", dynamic_ncols=True, leave=False)
        return self

    def add(self, count: int) -> None:
        """Count ``count`` more items as finished."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        if time.monotonic() - self._last_log >= self.seconds and self.done < self.total:
            self._log()

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None and self.total:
            self._log()

    def _log(self) -> None:
        self._last_log = time.monotonic()
        elapsed = max(1e-9, self._last_log - self._start)
        line = f"{self.task}: {self.done} of {self.total} {self.unit}, {self.done / elapsed:.1f} a second"
        if 0 < self.done < self.total:
            line += f", {elapsed * (self.total - self.done) / self.done:.0f} s to go"
        if rank() == 0:
            print_log(line, logger="current")
