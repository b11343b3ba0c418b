"""Memory that was used once is used again: what a step frees stays with the process until it ends."""

import ctypes
import sys
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MOST = 2**31 - 1  # what an option can hold
_LARGEST = 2**30  # bytes of a piece of memory that is still kept


def keep_freed_memory() -> bool:
    """Have glibc give no freed memory back to the system, and take none piece by piece for large tensors.

    On a CPU every step makes and frees the same large tensors: gradients, activations. By default the C library gives
    their memory back, and the system clears each page of it anew at its next use, which took a fifth of a training step
    (docs/performance.md). Memory of a GPU is kept by torch itself.

    Returns:
        Whether it was done; elsewhere than with glibc it is not.
    """
    mallopt = _of_glibc("mallopt")
    return mallopt is not None and bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _MOST))


def give_back_freed_memory() -> None:
    """Give back once what is kept, where another process is going to need it."""
    if (trim := _of_glibc("malloc_trim")) is not None:
        trim(0)


def _of_glibc(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
