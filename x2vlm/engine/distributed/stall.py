"""Stalled or dead ranks: which process is missing in a collective that failed, and a saved step before the error."""

import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from x2vlm.distributed import is_distributed, rank, world_size

_SIGNS = re.compile(r"Timed out|timed out|timeout|Connection closed by peer|Connection reset by peer|Broken pipe")
_GRACE = 2.0  # seconds for other waiting ranks to report that they wait
_WAITING = "waiting"


class StalledError(RuntimeError):
    """Another process does not answer, or has ended."""


class RankProgress:
    """What each rank is working on, in the rendezvous store, where it can be read after collectives have failed."""

    def __init__(self) -> None:
        self._store: Any = None
        self._work, self._since = "", time.monotonic()
        if is_distributed() and {"MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
            self._store = dist.TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                is_master=False,
                timeout=timedelta(seconds=10),
                wait_for_workers=False,
            )

    def report(self, work: str) -> None:
        """Store what this rank begins, such as ``iteration 12``."""
        self._work, self._since = work, time.monotonic()
        if self._store is not None:
            self._store.set(self._key(rank()), work)

    def describe(self, error: Exception) -> str | None:
        """The sentence that names the missing ranks; None where the error is not about another process."""
        if not is_distributed() or not _SIGNS.search(str(error)):
            return None
        waited = time.monotonic() - self._since
        return f"{self._work}: waited {waited:.0f} s for {self._missing()} ({_reason(error)})."

    def _missing(self) -> str:
        """The ranks that do not wait in the same collective."""
        try:
            works = self._works()
        except RuntimeError:  # the store is served by a rank, perhaps the missing one
            works = {}
        missing = [f"process {number} (last heard of at {work})" for number, work in works.items() if work != _WAITING]
        return ", ".join(missing) or "another process"

    def _works(self) -> dict[int, str]:
        """What every other rank reported last."""
        if self._store is None:
            return {}
        self._store.set(self._key(rank()), _WAITING)
        time.sleep(_GRACE)
        others = [number for number in range(world_size()) if number != rank()]
        reported = [number for number in others if self._store.check([self._key(number)])]
        return {number: self._store.get(self._key(number)).decode() for number in reported}

    @staticmethod
    def _key(number: int) -> str:
        return f"x2vlm/at/{number}"


@contextmanager
def explaining_stalls(progress: RankProgress, save: Callable[[], str]) -> Iterator[None]:
    """Around code with collectives: turn an error about another process into a sentence that names it.

    Args:
        progress: What every rank reported.
        save: Saves what can be saved, and returns a sentence about it.

    Raises:
        StalledError: If another process does not answer, or has ended.
    """
    try:
        yield
    except RuntimeError as error:
        sentence = progress.describe(error)
        if sentence is None:
            raise
        raise StalledError(f"{sentence}\n{save()}") from error


def _reason(error: Exception) -> str:
    """The first line of torch's message, without its source position."""
    return re.sub(r"^\[[^\]]*\]\s*", "", str(error).splitlines()[0]).rstrip(".")
