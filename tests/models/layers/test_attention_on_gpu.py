"""Attention backends on a GPU, each beside the definition in fp32."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from x2vlm.models.layers.attention import attend, available
from x2vlm.models.layers.ragged_keys import varlen_kernel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="requires a GPU"),
]

CLOSE = {torch.float32: 1e-3, torch.float16: 5e-3, torch.bfloat16: 4e-2}  # of the largest value
NAMES = ["sdpa", "sdpa_without_cudnn", "flash", "flex", "varlen", "xformers", "auto"]


def drawn(dtype, queries=40, keys=56, batch=2):
    """Query, key, value in fp32 and again in ``dtype``, a bias, and a mask of padding."""
    generator = torch.Generator().manual_seed(queries)
    shapes = [(batch, 3, queries, 64), (batch, 3, keys, 64), (batch, 3, keys, 64), (1, 3, queries, keys)]
    values = [torch.randn(shape, generator=generator).to("cuda", dtype) for shape in shapes]
    lengths = torch.randint(1, keys + 1, (batch, 1), generator=generator)
    mask = (torch.arange(keys) < lengths)[:, None, None].cuda()
    return [x.float().requires_grad_() for x in values], [x.requires_grad_() for x in values], mask


def assert_like_eager(backend, dtype, masked, biased, ragged=False, **shape):
    exact, halves, mask = drawn(dtype, **shape)
    results = []
    for (query, key, value, bias), name in ((exact, "eager"), (halves, backend)):
        wanted = [query, key, value] + [bias] * biased
        out = attend(query, key, value, mask if masked else None, bias if biased else None, 0.0, name, ragged)
        results.append((out, *torch.autograd.grad(out.float().square().sum(), wanted)))
    for reference, fast in zip(*results, strict=True):
        assert (fast.float() - reference).abs().max() < CLOSE[dtype] * reference.abs().max()


@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("backend", NAMES)
def test_every_backend_equals_eager_or_says_why_not(backend, masked, biased, dtype):
    if backend != "auto" and backend not in available("cuda", dtype, masked, biased):
        query = torch.ones(1, 1, 2, 16, device="cuda", dtype=dtype)
        mask = torch.ones(1, 1, 1, 2, device="cuda", dtype=torch.bool) if masked else None
        bias = torch.zeros(1, 1, 2, 2, device="cuda", dtype=dtype, requires_grad=True) if biased else None
        with pytest.raises(ValueError, match=rf"cannot run on cuda in {dtype}: {backend}: \w+") as refused:
            attend(query, query, query, mask, bias, backend=backend)
        pytest.skip(f"another GPU or build: {refused.value}")
    assert_like_eager(backend, dtype, masked, biased)


@pytest.mark.parametrize("biased", [False, True])
def test_shapes_that_vary_are_computed_without_cudnn(biased):
    assert_like_eager("auto", torch.bfloat16, True, biased, ragged=True)  # what runs is found outside the record
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        for n in range(20):
            assert_like_eager("auto", torch.bfloat16, True, biased, ragged=True, queries=5 + n, keys=9 + 3 * n)
    names = [event.key.lower() for event in recorded.key_averages()]
    assert any("attention" in name for name in names)
    assert not [name for name in names if "cudnn" in name]


def test_varlen_reads_nothing_back():
    _, (query, key, value, _), mask = drawn(torch.bfloat16)
    if varlen_kernel("cuda", torch.bfloat16) is None:
        pytest.skip("this torch or GPU has no kernel for packed keys")
    attend(query, key, value, mask, backend="varlen")
    torch.cuda.set_sync_debug_mode("error")
    try:
        attend(query, key, value, mask, backend="varlen").sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
