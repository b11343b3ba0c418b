"""Peak memory of a GPU, and measurements in a process of their own."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import torch


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
