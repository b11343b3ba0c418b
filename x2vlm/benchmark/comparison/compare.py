"""Rows of the comparison table: workloads measured with the library and with the reference path."""

import gc
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from x2vlm.benchmark.comparison.workload_memory import workload_peak_memory
from x2vlm.benchmark.timing.device_precision import dtype_of, has_bf16_products, matmul_precision
from x2vlm.benchmark.timing.gpu_profile import profile_of
from x2vlm.benchmark.timing.measurement import Run, flops_of, interleaved, matmul_rate, summary
from x2vlm.benchmark.timing.operator_counts import operator_counts
from x2vlm.benchmark.timing.peak_memory import gpu_peak_memory
from x2vlm.benchmark.timing.varied_steps import time_steps
from x2vlm.benchmark.workloads.workload import Workload
from x2vlm.benchmark.workloads.workload_cases import Case
from x2vlm.engine.cpu_allocator import give_back_freed_memory

SIDES = ("library", "reference")


def rates(size: str, device: str, precisions: Collection[str]) -> dict[str, Any]:
    """Rate of a device in products of square matrices: ``side``, and operations per second in fp32 and ``precisions``.

    A processor without instructions for bf16 takes minutes for a large product in it: there all of them are smaller.
    """
    side = 256 if size == "tiny" else 4096 if device == "cpu" else 8192
    if device == "cpu" and "bf16" in precisions and not has_bf16_products():
        side = min(side, 512)
    rates: dict[str, Any] = {"side": side}
    for precision in dict.fromkeys(["fp32", *precisions]):
        with matmul_precision(precision):
            rates[precision] = matmul_rate(side, dtype_of(precision), device=device)
    return rates


def rows_of(case: Case, repeats: int, parts: bool = False) -> Iterator[dict[str, Any]]:
    """Measure a case.

    Args:
        case: The workload and its options.
        repeats: Of each side, in turns.
        parts: Whether to measure the shares of the parts too, where the workload has some.

    Yields:
        A row: ``name``, ``count`` and ``unit``; ``ratio``, of the median seconds (reference by library), with
        ``ratio_least`` and ``ratio_greatest`` of those of one repetition; ``memory_ratio`` (library by reference); and
        for each side ``median``, ``least``, ``greatest``, ``spread``, ``per_second``, ``flops``, ``flops_per_second``,
        ``precision``, ``peak_memory`` in bytes, and perhaps ``parts``.
        Where steps differ, each side also has ``first``, ``repeated`` and ``varied_by_repeated`` (see
        :func:`~x2vlm.benchmark.timing.varied_steps.time_steps`), and the library's ``operators`` and ``waits`` of a
        step, ``attention_shapes`` and ``product_shapes`` of all of them.
        On a GPU each side also has ``gpu``: ``kernels``, ``waits``, ``items``, ``nonzeros`` and ``busy_seconds`` of a
        run, and ``busy``, their share of its seconds without a profiler.
    """
    for number, workload in enumerate(case.workloads()):
        row = (_timed_steps if workload.steps else _timed)(workload, case, repeats)
        if parts and workload.parts:
            for index, side in enumerate(SIDES):
                runs = [sides_of_part[index] for sides_of_part in workload.parts.values()]
                seconds = interleaved(runs, repeats=2, warm_up=0, device=case.measured_on)
                row[side]["parts"] = shares(dict(zip(workload.parts, map(min, seconds), strict=True)))
        give_back_freed_memory()
        for side in SIDES:
            row[side]["peak_memory"] = _peak_memory(case, workload, number, side)
        row["memory_ratio"] = row["library"]["peak_memory"] / row["reference"]["peak_memory"]
        yield row


def _peak_memory(case: Case, workload: Workload, number: int, side: str) -> int:
    if case.measured_on == "cuda":
        gc.collect()  # workloads before this one
        return gpu_peak_memory(getattr(workload, side))
    return workload_peak_memory(case, number, side)


def _timed(workload: Workload, case: Case, repeats: int) -> dict[str, Any]:
    runs = [workload.library, workload.reference]
    flops = [flops_of(run) for run in runs]  # warms up too, but counting disables compilation
    warm_up = int(case.compiled or case.measured_on == "cuda")
    elapsed = interleaved(runs, repeats, warm_up=warm_up, device=case.measured_on)
    figures = [summary(of_side) for of_side in elapsed]
    row = _row(
        workload, case, figures, [count / each["median"] for count, each in zip(flops, figures, strict=True)], elapsed
    )
    for side, run, operations in zip(SIDES, runs, flops, strict=True):
        row[side] |= {"flops": operations} | _on_gpu(run, row[side]["median"], case)
    return row


def _timed_steps(workload: Workload, case: Case, _: int) -> dict[str, Any]:
    """Each step is done once, so there are as many repetitions as steps. Operations are those of the repeated one."""
    timed, middle = time_steps(workload.steps, case.measured_on)  # first, so that no shape has been there before
    runs, figures = workload.steps[middle], [figures for figures, _ in timed]
    flops = [flops_of(run) for run in runs]
    speeds = [count / each["repeated"] for count, each in zip(flops, figures, strict=True)]
    row = _row(workload, case, figures, speeds, [seconds for _, seconds in timed])
    for side, run, operations in zip(SIDES, runs, flops, strict=True):
        row[side] |= {"flops": operations} | _on_gpu(run, row[side]["repeated"], case)
    row["library"] |= _shapes(workload)
    return row


def _row(
    workload: Workload,
    case: Case,
    figures: list[dict[str, float]],
    speeds: list[float],
    elapsed: list[list[float]],
) -> dict[str, Any]:
    row: dict[str, Any] = {"work": case.workload, "name": workload.name, "unit": workload.unit, "count": workload.count}
    for side, side_figures, speed in zip(SIDES, figures, speeds, strict=True):
        rate = {"per_second": workload.count / side_figures["median"], "flops_per_second": speed}
        row[side] = side_figures | rate | {"precision": case.precision}
    pairs = [reference / library for library, reference in zip(*elapsed, strict=True)]
    row["ratio"] = row["reference"]["median"] / row["library"]["median"]
    return row | {"ratio_least": min(pairs), "ratio_greatest": max(pairs)}


def _shapes(workload: Workload) -> dict[str, float]:
    counts = operator_counts(workload.library)
    return {
        "operators": counts.total / len(workload.steps),
        "waits": counts.waits.total() / len(workload.steps),
        "attention_shapes": len(counts.attention_shapes),
        "product_shapes": len(counts.product_shapes),
    }


def _on_gpu(run: Run, seconds: float, case: Case) -> dict[str, Any]:
    if case.measured_on != "cuda":
        return {}
    figures = profile_of(run)
    return {"gpu": figures | {"busy": figures["busy_seconds"] / seconds}}


def shares(cumulative: Mapping[str, float]) -> dict[str, float]:
    """Shares of the total, from cumulative seconds: each part includes the ones before."""
    seconds, before = {}, 0.0
    for name, after in cumulative.items():
        seconds[name], before = max(0.0, after - before), after
    return {name: part / sum(seconds.values()) for name, part in seconds.items()}
