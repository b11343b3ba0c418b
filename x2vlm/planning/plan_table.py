"""The plan of a run as text tables."""

from collections.abc import Iterator, Mapping
from typing import Any

_GIB, _MIB = 2**30, 2**20


def format_plan(name: str, plan: Mapping[str, Any]) -> str:
    """The result of :func:`~x2vlm.planning.run_plan.plan_run` as text.

    Args:
        name: Name of the config.
        plan: The result.
    """
    recomputed = ", layers recomputed" if plan["checkpointing"] else ""
    return "\n".join(
        [
            f"{name}: {plan['processes']} processes, {plan['precision']}{recomputed}, {plan['steps']:,} steps",
            "parameters (millions)",
            *(f"  {part:<20}{count / 1e6:>10.1f}" for part, count in plan["parameters"].items()),
            "activations of a stream (GiB in each process)",
            *(f"  {stream:<20}{size / _GIB:>10.2f}" for stream, size in plan["activations"].items()),
            f"streams that go together: {'; '.join(', '.join(names) for names in plan['passes'])}",
            *_comparison("memory (GiB in each process)", plan["memory"], _GIB),
            *_comparison("sent in a step (MiB by each process)", plan["sent_per_step"], _MIB),
            *_reading(plan),
            "",
        ]
    )


def _comparison(title: str, sizes: Mapping[str, Mapping[str, float]], unit: int) -> Iterator[str]:
    """Sizes with DDP and with FSDP, side by side."""
    yield f"{title:<42}{'DDP':>10}{'FSDP':>10}"
    purposes = list(dict.fromkeys([*sizes["ddp"], *sizes["fsdp"]]))
    for purpose in [*(purpose for purpose in purposes if purpose != "total"), "total"]:
        columns = (sizes[wrapper].get(purpose) for wrapper in ("ddp", "fsdp"))
        text = "".join(f"{size / unit:>10.2f}" if size else f"{'-':>10}" for size in columns)
        yield f"  {purpose:<40}{text}"


def _reading(plan: Mapping[str, Any]) -> Iterator[str]:
    yield f"reading, at {plan['step_seconds']:g} s a step"
    yield f"  {'':<20}{'records/step':>14}{'records/s':>12}{'MB/s':>8}{'shards':>10}{'passes':>8}"
    for stream, rate in plan["reading"].items():
        shards = "-" if rate["shards"] is None else f"{rate['shards']:,}"
        passes = "-" if rate["passes"] is None else f"{rate['passes']:.1f}"
        numbers = f"{rate['records']:>14,.0f}{rate['rate']:>12,.0f}{rate['megabytes']:>8,.0f}"
        yield f"  {stream:<20}{numbers}{shards:>10}{passes:>8}"
    if plan["worker_seconds_per_record"]:
        milliseconds = plan["worker_seconds_per_record"] * 1000
        yield f"  a worker has {milliseconds:.0f} ms for a record before a step waits for it"
