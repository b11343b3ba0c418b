import pytest
import torch

from x2vlm.benchmark.timing.gpu_profile import figures_of, profile_of


def event(cat, name, ts, dur, **args):
    return {"ph": "X", "cat": cat, "name": name, "ts": ts, "dur": dur, "args": args}


RUN = event("user_annotation", "x2vlm_benchmark_run", 100.0, 1000.0)
EVENTS = [
    {"ph": "M", "name": "process_name"},
    RUN,
    event("gpu_user_annotation", "x2vlm_benchmark_run", 150.0, 2000.0),
    event("kernel", "gemm", 200.0, 300.0, stream=7),
    event("kernel", "norm", 600.0, 100.0, stream=7),
    event("kernel", "copy", 600.0, 50.0, stream=20),
    event("kernel", "late", 1200.0, 200.0, stream=7),  # launched in the run, and done after it
    event("gpu_memcpy", "Memcpy DtoH", 700.0, 500.0, stream=7),
    event("cpu_op", "aten::_local_scalar_dense", 300.0, 10.0),
    event("cpu_op", "aten::nonzero", 400.0, 10.0),
    event("cuda_runtime", "cudaStreamSynchronize", 305.0, 4.0),
    event("cuda_runtime", "cudaStreamSynchronize", 405.0, 4.0),
    event("cuda_runtime", "cudaMemcpyAsync", 404.0, 1.0),
    event("cuda_runtime", "cudaEventSynchronize", 500.0, 4.0),
    event("cuda_runtime", "cudaDeviceSynchronize", 1150.0, 300.0),  # that of the profiler
]


def test_a_trace_has_kernels_waits_and_the_busiest_stream():
    figures = figures_of(EVENTS)
    assert figures == {"kernels": 4, "waits": 3, "items": 1, "nonzeros": 1, "busy_seconds": pytest.approx(600e-6)}


def test_times_may_be_strings_and_a_run_may_launch_nothing():
    events = [{**RUN, "ts": "100.0", "dur": "1000.0"}]
    assert figures_of(events) == {"kernels": 0, "waits": 0, "items": 0, "nonzeros": 0, "busy_seconds": 0.0}


def test_a_trace_without_the_run_is_refused():
    with pytest.raises(ValueError, match="has no range 'x2vlm_benchmark_run'"):
        figures_of(EVENTS[2:])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a GPU")
def test_a_run_on_a_gpu_has_kernels_and_the_waits_it_makes():
    x = torch.randn(256, 256, device="cuda")
    figures = profile_of(lambda: (x @ x).sum().item())
    assert figures["kernels"] >= 2
    assert (figures["items"], figures["nonzeros"]) == (1, 0)
    assert figures["waits"] >= 1
    assert figures["busy_seconds"] > 0
