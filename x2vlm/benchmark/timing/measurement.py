"""Seconds, memory and arithmetic of a run, measured so that two runs can be compared.

Every repetition runs both sides, one after the other, so that what else the machine does falls on both. Peak memory is
that of a process of its own for each side; on a GPU that of tensors, in the same process.
"""

import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from math import log
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Run = Callable[[], Any]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of a line through ``(x, y)`` on log-log axes, by least squares: 1 where twice as much costs twice as much.

    Raises:
        ValueError: If there are not two different ``x``.
    """
    if len({x for x, _ in points}) < 2:
        raise ValueError(f"a slope needs two points or more; given {len(points)}.")
    return statistics.linear_regression(*zip(*((log(x), log(y)) for x, y in points), strict=True)).slope


def seconds_of(run: Run, device: str = "cpu") -> float:
    """How long one run takes on ``cpu``, or on ``cuda``: from one event to another, with nothing else under way."""
    if device == "cuda":
        return _seconds_on_gpu(run)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _seconds_on_gpu(run: Run) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def interleaved(runs: Sequence[Run], repeats: int, warm_up: int = 1, device: str = "cpu") -> list[list[float]]:
    """Seconds of each run in every repetition; the first ``warm_up`` are not counted.

    Raises:
        ValueError: If nothing is repeated.
    """
    if repeats < 1:
        raise ValueError(f"repeats is {repeats}; expected 1 or more.")
    seconds: list[list[float]] = [[] for _ in runs]
    for repetition in range(warm_up + repeats):
        order = range(len(runs)) if repetition % 2 == 0 else reversed(range(len(runs)))
        for number in order:
            taken = seconds_of(runs[number], device)
            if repetition >= warm_up:
                seconds[number].append(taken)
    return seconds


def summary(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and greatest, and the spread: the distance of the last two as a share of the first."""
    median = statistics.median(seconds)
    low, high = min(seconds), max(seconds)
    return {"median": median, "least": low, "greatest": high, "spread": (high - low) / median}


def matmul_rate(side: int, dtype: torch.dtype = torch.float32, repeats: int = 3, device: str = "cpu") -> float:
    """Floating-point operations a second in a product of two square matrices; the best of some."""
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    torch.mm(first, second)
    best = min(seconds_of(lambda: torch.mm(first, second), device) for _ in range(repeats))
    return 2 * side**3 / best


def flops_of(run: Run) -> int:
    """Floating-point operations of the matrix products of a run, backward included; a multiply-add is two."""
    aten = torch.ops.aten
    known = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        run()
    return counter.get_total_flops()


def _attention_flops(query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    batch, heads, queries, width = query
    return 4 * batch * heads * queries * key[2] * width


def _attention_backward_flops(_: Any, query: Sequence[int], key: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * _attention_flops(query, key)


def peak_memory() -> int:
    """The most memory this process has held so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # a new process inherits ru_maxrss from the one that started it, but not this
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return 1024 * int(line.split()[1])
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else 1024 * most


def gpu_peak_memory(run: Run) -> int:
    """The most bytes that tensors took on the GPU during one run, those that were there before included."""
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    run()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated()


def memory_of(arguments: Sequence[str]) -> int:
    """Peak memory of a process of its own: ``x2vlm.benchmark.timing.memory_process`` with these arguments.

    Raises:
        RuntimeError: If it fails.
    """
    command = [sys.executable, "-m", "x2vlm.benchmark.timing.memory_process", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"measuring memory failed: {' '.join(command)}\n{done.stderr[-2000:]}")
    return int(done.stdout.split()[-1])
