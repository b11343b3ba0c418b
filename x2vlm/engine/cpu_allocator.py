"""The C library's allocator on CPUs: keep freed memory in the process, so that the next step reuses it."""

import ctypes
import sys
from collections.abc import Callable

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt(3)
_MAX_OPTION = 2**31 - 1
_MAX_KEPT_BLOCK = 2**30  # bytes; larger blocks are mapped and unmapped by themselves


def keep_freed_memory() -> bool:
    """Set glibc's malloc not to return freed memory to the system, and not to map large tensors by themselves.

    On a CPU every step allocates and frees the same large tensors: gradients, activations. By default the C library
    returns their memory, and the system clears each page again at its next use, which took a fifth of a training step
    (docs/performance.md). GPU memory is kept by torch's caching allocator.

    Returns:
        Whether it was set; without glibc it is not.
    """
    mallopt = _glibc_function("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MAX_KEPT_BLOCK)) and bool(mallopt(_TRIM_THRESHOLD, _MAX_OPTION))


def give_back_freed_memory() -> None:
    """Return the kept memory to the system once, before another process needs it."""
    if (trim := _glibc_function("malloc_trim")) is not None:
        trim(0)


def _glibc_function(name: str) -> Callable[..., int] | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
