"""Peak memory of this process."""

import sys
from pathlib import Path


def peak_memory() -> int | None:
    """The most main memory that this process has held so far, in bytes; None where the system does not report it."""
    status = Path("/proc/self/status")
    if status.exists():  # a new process inherits ru_maxrss from the one that started it, but not this
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    if sys.platform == "win32":
        return None
    import resource  # Unix only

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, others kilobytes
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
