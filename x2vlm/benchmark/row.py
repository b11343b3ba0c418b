"""One row of the table: a work measured on both sides."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from x2vlm.benchmark.all_works import Case
from x2vlm.benchmark.measure import flops_of, interleaved, matmul_rate, memory_of, summary
from x2vlm.benchmark.works import Work
from x2vlm.engine.allocator import give_back_freed_memory

SIDES = ("library", "plain")


def rates(size: str) -> dict[str, Any]:
    """What this machine does in a product of square matrices: ``side``, and operations a second ``fp32``, ``bf16``."""
    side = 4096 if size == "base" else 256
    return {"side": side, "fp32": matmul_rate(side), "bf16": matmul_rate(side, torch.bfloat16)}


def rows_of(case: Case, repeats: int, parts: bool = False) -> Iterator[dict[str, Any]]:
    """Measure a case.

    Args:
        case: Which, and how.
        repeats: Of each side, in turns.
        parts: Whether also to tell the shares of the parts, where the work has some.

    Yields:
        A row: ``name``, ``count`` and ``unit``; ``ratio``, of the median seconds (plain by library), with
        ``ratio_least`` and ``ratio_greatest`` of those of one repetition; ``memory_ratio`` (library by plain); and for
        each side ``median``, ``least``, ``greatest``, ``spread``, ``per_second``, ``flops``, ``flops_per_second``,
        ``precision``, ``peak_memory`` in bytes, and perhaps ``parts``.
    """
    for number, work in enumerate(case.works()):
        row = _timed(work, case, repeats)
        if parts and work.parts:
            for place, side in enumerate(SIDES):
                taken = interleaved([runs[place] for runs in work.parts.values()], repeats=2, warm_up=0)
                row[side]["parts"] = shares(dict(zip(work.parts, map(min, taken), strict=True)))
        give_back_freed_memory()
        for side in SIDES:
            told = [json.dumps(asdict(case)), str(number), side, str(torch.get_num_threads())]
            row[side]["peak_memory"] = memory_of(told)
        row["memory_ratio"] = row["library"]["peak_memory"] / row["plain"]["peak_memory"]
        yield row


def _timed(work: Work, case: Case, repeats: int) -> dict[str, Any]:
    runs = {"library": work.library, "plain": work.plain}
    flops = {side: flops_of(run) for side, run in runs.items()}  # warms up, too; but what counts keeps from compiling
    taken = interleaved(list(runs.values()), repeats, warm_up=int(case.compiled))
    row: dict[str, Any] = {"work": case.work, "name": work.name, "unit": work.unit, "count": work.count}
    for (side, operations), seconds in zip(flops.items(), taken, strict=True):
        found = summary(seconds)
        rate = {"per_second": work.count / found["median"], "flops_per_second": operations / found["median"]}
        precision = case.precision if side == "library" else "fp32"
        row[side] = found | rate | {"flops": operations, "precision": precision}
    pairs = [plain / library for library, plain in zip(*taken, strict=True)]
    row["ratio"] = row["plain"]["median"] / row["library"]["median"]
    return row | {"ratio_least": min(pairs), "ratio_greatest": max(pairs)}


def shares(growing: Mapping[str, float]) -> dict[str, float]:
    """Shares of the whole, from the seconds of works of which each holds the one before."""
    seconds, before = {}, 0.0
    for name, after in growing.items():
        seconds[name], before = max(0.0, after - before), after
    return {name: one / sum(seconds.values()) for name, one in seconds.items()}
