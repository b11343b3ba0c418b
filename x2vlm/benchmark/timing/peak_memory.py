"""Peak memory of this process, of a GPU, and measurements in a process of their own."""

import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # a new process inherits ru_maxrss from the one that started it, but not this
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else 1024 * most


def gpu_peak_memory(run: Callable[[], Any]) -> int:
    """The most bytes that tensors took on the GPU during one run, those that were there before included."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def measure_in_process(module: str, arguments: Sequence[str]) -> Any:
    """Run a module in a process of its own, so that its peak memory is its own; returns its last line, as JSON.

    Args:
        module: Dotted name of a module that can be run and writes JSON on its last line.
        arguments: Its command line.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, "-m", module, *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"the measurement failed: {' '.join(command)}\n{process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])
