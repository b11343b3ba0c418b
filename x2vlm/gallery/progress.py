"""How far a long work is: a live line on a terminal, and a line in the log from time to time."""

import sys
import time
from typing import Any

from mmengine.logging import print_log
from tqdm import tqdm

from x2vlm.distributed import rank


class Progress:
    """Counts what the first process has done, as a context manager; the other processes do as much, and say nothing.

    Args:
        what: What is done, e.g. ``"encoding"``.
        total: How much this process has to do.
        unit: Of what.
        seconds: Between two lines of the log.
    """

    def __init__(self, what: str, total: int, unit: str, seconds: float = 30.0) -> None:
        self.what, self.total, self.unit, self.seconds = what, total, unit, seconds
        self.done, self._bar = 0, None

    def __enter__(self) -> "Progress":
        self._start = self._told = time.monotonic()
        if rank() == 0 and sys.stderr.isatty():
            self._bar = tqdm(total=self.total, desc=self.what, unit=f" {self.unit}", dynamic_ncols=True, leave=False)
        return self

    def add(self, count: int) -> None:
        """So much more is done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(count)
        if time.monotonic() - self._told >= self.seconds and self.done < self.total:
            self._tell()

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None and self.total:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        taken = max(1e-9, self._told - self._start)
        line = f"{self.what}: {self.done} of {self.total} {self.unit}, {self.done / taken:.1f} a second"
        if 0 < self.done < self.total:
            line += f", {taken * (self.total - self.done) / self.done:.0f} s to go"
        if rank() == 0:
            print_log(line, logger="current")
