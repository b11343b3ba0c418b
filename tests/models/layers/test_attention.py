import shutil

import pytest
import torch

from x2vlm.models.autograd import cpu_bias_attention
from x2vlm.models.layers import attention, backends
from x2vlm.models.layers.attention import attend, available, resolve
from x2vlm.registry import ATTENTION_BACKENDS

OTHERS = ["sdpa", "sdpa_without_cudnn", "flash", "flash_bias", "flex", "varlen", "xformers"]


def inputs(seed=0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(2, 3, 5, 8, generator=generator, requires_grad=True)
    key, value = (torch.randn(2, 3, 7, 8, generator=generator, requires_grad=True) for _ in range(2))
    mask = torch.rand(2, 1, 1, 7, generator=generator) > 0.4
    mask[..., 0] = True
    bias = torch.randn(1, 3, 5, 7, generator=generator, requires_grad=True)
    return query, key, value, mask, bias


def compared(backend, mask, bias, wanted, device="cpu", dtype=torch.float32):
    """Output and gradients, by the definition and by a backend."""
    query, key, value = wanted[:3]
    results = []
    for name in ("eager", backend):
        out = attend(query, key, value, mask, bias, backend=name)
        results.append((out, *torch.autograd.grad(out.float().square().sum(), wanted)))
    return zip(*results, strict=True)


@pytest.mark.parametrize("with_mask", [False, True])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("backend", OTHERS)
def test_every_backend_equals_eager_in_output_and_gradients(backend, with_mask, with_bias):
    if backend not in available(masked=with_mask, biased=with_bias):
        with pytest.raises(ValueError, match=rf"cannot run on cpu in torch.float32: {backend}: \w+") as refused:
            resolve(backend, "cpu", torch.float32, with_mask, with_bias)
        pytest.skip(f"requires a GPU, or another backend: {refused.value}")
    query, key, value, mask, bias = inputs()
    wanted = [query, key, value] + [bias] * with_bias
    pairs = compared(backend, mask if with_mask else None, bias if with_bias else None, wanted)
    for reference, fast in pairs:
        torch.testing.assert_close(fast, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [1, 40, 80, 2**20])
@pytest.mark.parametrize("shape", [(1, 3, 5, 7), (2, 1, 5, 7), (3, 5, 7), (1, 1, 1, 7), (2, 3, 5, 1)])
def test_the_gradient_of_a_bias_is_that_of_the_definition_in_chunks_of_any_size(monkeypatch, shape, chunk):
    monkeypatch.setattr(cpu_bias_attention, "CHUNK", chunk)
    query, key, value, mask, _ = inputs()
    bias = torch.randn(shape, generator=torch.Generator().manual_seed(1), requires_grad=True)
    for reference, fast in compared("flash_bias", mask, bias, [query, key, value, bias]):
        torch.testing.assert_close(fast, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("dtype", "close"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_a_learned_bias_keeps_its_own_type_beside_tensors_of_half_precision(dtype, close):
    query, key, value, mask, bias = inputs()
    exact = [query, key, value, bias]
    halves = [x.detach().to(dtype).requires_grad_() for x in exact[:3]] + [bias]
    results = []
    for wanted, name in ((exact, "eager"), (halves, "flash_bias")):
        out = attend(*wanted[:3], mask, bias, backend=name)
        results.append((out, *torch.autograd.grad(out.float().square().sum(), wanted)))
    assert results[1][0].dtype == results[1][1].dtype == dtype
    assert results[1][4].dtype == torch.float32
    for reference, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast.float(), reference, atol=close * reference.abs().max().item(), rtol=0)


def test_a_fully_masked_row_stays_finite_with_a_learned_bias():
    query, key, value, mask, bias = inputs()
    mask[1] = False
    out = attend(query, key, value, mask, bias, backend="flash_bias")
    grads = torch.autograd.grad(out.sum(), [query, key, value, bias])
    assert all(x.isfinite().all() for x in (out, *grads))


def test_a_learned_bias_without_dropout_goes_to_the_fused_kernel_of_cpus_and_with_dropout_does_not():
    assert resolve("auto", "cpu", torch.float32, False, True) is ATTENTION_BACKENDS.get("flash_bias")
    assert resolve("auto", "cpu", torch.float32, False, True, dropped=True) is ATTENTION_BACKENDS.get("sdpa")
    assert resolve("auto", "cpu", torch.float32, True, False) is ATTENTION_BACKENDS.get("sdpa")


def test_weights_of_all_heads_are_not_kept_for_the_backward_pass():
    query, key, value, _, bias = inputs()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        attend(query, key, value, None, bias, backend="flash_bias")
    assert [x.shape for x in kept if x.shape[-2:] == (5, 7)] == [bias.shape]


def test_flex_says_that_it_cannot_be_trained_on_a_cpu():
    query, key, value, *_ = inputs()
    with pytest.raises(ValueError, match="flex: flex_attention has no backward pass on a CPU"):
        attend(query, key, value, backend="flex")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_flex_reads_mask_and_bias_and_gives_the_bias_its_gradient(monkeypatch):
    """By torch's own reference of flex_attention, which it does not offer on a CPU otherwise."""
    from torch.nn.attention import flex_attention

    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)
    query, key, value, mask, bias = inputs()
    wanted, results = [query, key, value, bias], []
    change = backends.score_change(mask, bias, torch.finfo(torch.float32).min)
    reference = ATTENTION_BACKENDS.get("eager")(query, key, value, mask, bias, 0.0)
    for out in (reference, flex_attention.flex_attention(query, key, value, score_mod=change)):
        results.append((out, *torch.autograd.grad(out.square().sum(), wanted)))
    for reference, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, reference, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="requires a C++ compiler")
def test_flex_compiled_for_a_cpu_equals_eager_without_gradients():
    query, key, value, mask, bias = (x.detach() for x in inputs())
    out = ATTENTION_BACKENDS.get("flex")(query, key, value, mask, bias, 0.0)
    torch.testing.assert_close(out, attend(query, key, value, mask, bias, backend="eager"), atol=1e-5, rtol=1e-5)


def test_keys_are_packed_whatever_the_mask_leaves_and_masks_of_single_queries_are_refused():
    query, key, value, mask, _ = inputs()
    mask[1] = False
    assert attend(query, key, value, mask, backend="varlen").isfinite().all()
    with pytest.raises(NotImplementedError, match=r"masks are \[B, 1, 1, K\].* this is \[2, 1, 5, 7\]"):
        attend(query, key, value, mask.expand(2, 1, 5, 7), backend="varlen")


def test_eager_is_the_definition():
    query, key, value, mask, bias = inputs()
    logits = torch.einsum("bhqd,bhkd->bhqk", query, key) / 8**0.5 + bias
    weights = torch.where(mask, logits, torch.tensor(float("-inf"))).softmax(-1)
    expected = torch.einsum("bhqk,bhkd->bhqd", weights, value)
    torch.testing.assert_close(attend(query, key, value, mask, bias, backend="eager"), expected)


def test_dropout_drops_weights_and_keeps_their_mean():
    query, key, value = torch.zeros(1, 1, 2000, 4), torch.zeros(1, 1, 10, 4), torch.ones(1, 1, 10, 4)
    torch.manual_seed(0)
    out = attend(query, key, value, dropout=0.5, backend="eager")
    assert out.std() > 0.1
    assert abs(out.mean() - 1) < 0.05


def test_flash_runs_on_a_cpu_without_a_bias():
    assert "flash" in available(masked=True, biased=False)


def test_auto_finds_a_backend_that_runs():
    assert resolve("auto", "cpu", torch.float32) in {ATTENTION_BACKENDS.get(name) for name in available()}


def test_a_backend_is_found_in_inference_mode_and_can_be_trained_with_afterwards():
    attention._cached_choice.cache_clear()
    with torch.inference_mode():
        query = torch.randn(1, 1, 2, 8)
        assert attend(query, query, query).shape == query.shape
    query = torch.randn(1, 1, 2, 8, requires_grad=True)
    attend(query, query, query).sum().backward()
    assert query.grad is not None


def test_an_unknown_backend_is_named_with_those_that_exist():
    known = "auto, eager, flash, flash_bias, flex, sdpa, sdpa_without_cudnn, varlen, xformers"
    with pytest.raises(ValueError, match=rf"'flsh' is not known. Accepted: {known}"):
        attend(*inputs()[:3], backend="flsh")


def test_a_backend_that_cannot_run_says_why_instead_of_being_replaced():
    @ATTENTION_BACKENDS.register_module(name="broken", force=True)
    def broken(*_):
        raise RuntimeError("no kernel for this machine")

    try:
        with pytest.raises(
            ValueError, match=r"with neither mask nor bias cannot run on cpu .*broken: no kernel for this"
        ):
            attend(*inputs()[:3], backend="broken")
    finally:
        ATTENTION_BACKENDS.module_dict.pop("broken")
