"""Seconds and FLOPs of a run, measured so that two runs can be compared.

Every repetition runs both sides, one after the other, so that other load of the machine falls on both.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from math import log
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
    """Seconds of one run on ``cpu``, or on ``cuda``: between two events, with no other work queued."""
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
            elapsed = seconds_of(runs[number], device)
            if repetition >= warm_up:
                seconds[number].append(elapsed)
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
    mapping = {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward_flops,
    }
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        run()
    return counter.get_total_flops()


def _attention_flops(query: Sequence[int], key: Sequence[int], *_: Any, **__: Any) -> int:
    batch, heads, queries, width = query
    return 4 * batch * heads * queries * key[2] * width


def _attention_backward_flops(_: Any, query: Sequence[int], key: Sequence[int], *__: Any, **___: Any) -> int:
    return 2 * _attention_flops(query, key)
