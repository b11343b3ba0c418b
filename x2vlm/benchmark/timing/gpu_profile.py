"""Kernels, waits and busy time of a GPU during one run, from a trace of torch's profiler."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

_RUN = "x2vlm_benchmark_run"
# Calls of the CUDA runtime that return only when the device has caught up. A synchronous copy to main memory
# (`item()`, `nonzero()`) is an asynchronous one and a wait for its stream.
_WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")

Figures = dict[str, float]


def profile_of(run: Callable[[], Any]) -> Figures:
    """Profile one run on a CUDA device; see :func:`figures_of`."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
        with record_function(_RUN):
            run()
        torch.cuda.synchronize()
    with TemporaryDirectory(prefix="x2vlm_profile_") as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        return figures_of(json.loads(path.read_text())["traceEvents"])


def figures_of(events: Sequence[Mapping[str, Any]]) -> Figures:
    """Read a Chrome trace.

    Args:
        events: Of the trace; times in microseconds.

    Returns:
        ``kernels``, ``waits`` (calls that wait for the device, in any thread, while the run lasted), ``items`` and
        ``nonzeros`` (operators among those that cause them), and ``busy_seconds`` of kernels in the busiest stream.

    Raises:
        ValueError: If the run is not in the trace.
    """
    timed = [event for event in events if event.get("ph") == "X"]
    run = next((e for e in timed if e["name"] == _RUN and e.get("cat") == "user_annotation"), None)
    if run is None:
        raise ValueError(f"the trace has no range '{_RUN}': the profiler recorded nothing of the CPU.")
    start, end = float(run["ts"]), float(run["ts"]) + float(run["dur"])
    inside = [event["name"] for event in timed if start <= float(event["ts"]) <= end]
    kernels = [event for event in timed if event.get("cat") == "kernel"]
    streams: dict[Any, float] = defaultdict(float)
    for kernel in kernels:
        streams[kernel.get("args", {}).get("stream")] += float(kernel["dur"])
    return {
        "kernels": len(kernels),
        "waits": sum(name in _WAITS for name in inside),
        "items": inside.count("aten::_local_scalar_dense"),
        "nonzeros": inside.count("aten::nonzero"),
        "busy_seconds": max(streams.values(), default=0.0) / 1e6,
    }
