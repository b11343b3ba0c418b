"""One row of the table: a work measured on both sides."""

import gc
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import torch

from x2vlm.benchmark.timing.device_precision import ON_CPU, PRECISIONS, dtype_of, matmul_precision
from x2vlm.benchmark.timing.gpu_profile import profile_of
from x2vlm.benchmark.timing.measurement import flops_of, gpu_peak_memory, interleaved, matmul_rate, memory_of, summary
from x2vlm.benchmark.timing.operator_counts import operator_counts
from x2vlm.benchmark.timing.step_timing import time_steps
from x2vlm.benchmark.works.all_works import Case
from x2vlm.benchmark.works.inference_works import Run, Work
from x2vlm.engine.allocator import give_back_freed_memory

SIDES = ("library", "plain")


def rates(size: str, device: str = "cpu") -> dict[str, Any]:
    """What a device does in a product of square matrices: ``side``, and operations a second by precision."""
    side = 256 if size == "tiny" else 4096 if device == "cpu" else 8192
    found: dict[str, Any] = {"side": side}
    for precision in ON_CPU if device == "cpu" else PRECISIONS:
        with matmul_precision(precision):
            found[precision] = matmul_rate(side, dtype_of(precision), device=device)
    return found


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
        Where steps differ, each side also has ``first``, ``repeated`` and ``varied_by_repeated`` (see
        :func:`~x2vlm.benchmark.timing.step_timing.time_steps`), and the library's ``operators`` and ``waits`` of a
        step, ``attention_shapes`` and ``product_shapes`` of all of them.
        On a GPU each side also has ``gpu``: ``kernels``, ``waits``, ``items``, ``nonzeros`` and ``busy_seconds`` of a
        run, and ``busy``, their share of its seconds without a profiler.
    """
    for number, work in enumerate(case.works()):
        row = (_timed_steps if work.steps else _timed)(work, case, repeats)
        if parts and work.parts:
            for place, side in enumerate(SIDES):
                runs = [both[place] for both in work.parts.values()]
                taken = interleaved(runs, repeats=2, warm_up=0, device=case.place)
                row[side]["parts"] = shares(dict(zip(work.parts, map(min, taken), strict=True)))
        give_back_freed_memory()
        for side in SIDES:
            row[side]["peak_memory"] = _peak_memory(case, work, number, side)
        row["memory_ratio"] = row["library"]["peak_memory"] / row["plain"]["peak_memory"]
        yield row


def _peak_memory(case: Case, work: Work, number: int, side: str) -> int:
    if case.place == "cuda":
        gc.collect()  # works before this one
        return gpu_peak_memory(getattr(work, side))
    return memory_of([json.dumps(asdict(case)), str(number), side, str(torch.get_num_threads())])


def _timed(work: Work, case: Case, repeats: int) -> dict[str, Any]:
    runs = [work.library, work.plain]
    flops = [flops_of(run) for run in runs]  # warms up, too; but what counts keeps from compiling
    warm_up = int(case.compiled or case.place == "cuda")
    taken = interleaved(runs, repeats, warm_up=warm_up, device=case.place)
    found = [summary(seconds) for seconds in taken]
    row = _row(work, case, found, [count / each["median"] for count, each in zip(flops, found, strict=True)], taken)
    for side, run, operations in zip(SIDES, runs, flops, strict=True):
        row[side] |= {"flops": operations} | _on_gpu(run, row[side]["median"], case)
    return row


def _timed_steps(work: Work, case: Case, _: int) -> dict[str, Any]:
    """Each step is done once, so there are as many repetitions as steps. Operations are those of the repeated one."""
    told, middle = time_steps(work.steps, case.place)  # first, so that no shape has been there before
    runs, found = work.steps[middle], [figures for figures, _ in told]
    flops = [flops_of(run) for run in runs]
    speeds = [count / each["repeated"] for count, each in zip(flops, found, strict=True)]
    row = _row(work, case, found, speeds, [seconds for _, seconds in told])
    for side, run, operations in zip(SIDES, runs, flops, strict=True):
        row[side] |= {"flops": operations} | _on_gpu(run, row[side]["repeated"], case)
    row["library"] |= _shapes(work)
    return row


def _row(
    work: Work, case: Case, found: list[dict[str, float]], speeds: list[float], taken: list[list[float]]
) -> dict[str, Any]:
    row: dict[str, Any] = {"work": case.work, "name": work.name, "unit": work.unit, "count": work.count}
    for side, figures, speed in zip(SIDES, found, speeds, strict=True):
        rate = {"per_second": work.count / figures["median"], "flops_per_second": speed}
        row[side] = figures | rate | {"precision": case.precision}
    pairs = [plain / library for library, plain in zip(*taken, strict=True)]
    row["ratio"] = row["plain"]["median"] / row["library"]["median"]
    return row | {"ratio_least": min(pairs), "ratio_greatest": max(pairs)}


def _shapes(work: Work) -> dict[str, float]:
    counts = operator_counts(work.library)
    return {
        "operators": counts.total / len(work.steps),
        "waits": counts.waits.total() / len(work.steps),
        "attention_shapes": len(counts.attention_shapes),
        "product_shapes": len(counts.product_shapes),
    }


def _on_gpu(run: Run, seconds: float, case: Case) -> dict[str, Any]:
    if case.place != "cuda":
        return {}
    figures = profile_of(run)
    return {"gpu": figures | {"busy": figures["busy_seconds"] / seconds}}


def shares(growing: Mapping[str, float]) -> dict[str, float]:
    """Shares of the whole, from the seconds of works of which each holds the one before."""
    seconds, before = {}, 0.0
    for name, after in growing.items():
        seconds[name], before = max(0.0, after - before), after
    return {name: one / sum(seconds.values()) for name, one in seconds.items()}
