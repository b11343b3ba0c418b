import pytest
import torch

from x2vlm.models.layers.attention import attend
from x2vlm.models.layers.ragged_keys import packed_attention, varlen_kernel


class SlowKernel(torch.autograd.Function):
    """What the kernel of a GPU computes, sequence by sequence; it leaves NaN where it has no gradient."""

    @staticmethod
    def forward(ctx, query, key, value, starts, ends, max_q, max_k):
        assert starts.dtype == ends.dtype == torch.int32
        assert isinstance(max_q, int) and isinstance(max_k, int)
        ctx.save_for_backward(query, key, value, starts, ends)
        return sequences(query, key, value, starts, ends)

    @staticmethod
    def backward(ctx, grad):
        *given, starts, ends = ctx.saved_tensors
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in given]
            grads = torch.autograd.grad(sequences(*leaves, starts, ends), leaves, grad)
        for each in grads[1:]:
            each[ends[-1] :] = float("nan")
        return *grads, None, None, None, None


def sequences(query, key, value, starts, ends):
    out = []
    for i in range(len(starts) - 1):
        q = query[starts[i] : starts[i + 1]].transpose(0, 1)
        k, v = (x[ends[i] : ends[i + 1]].transpose(0, 1) for x in (key, value))
        out.append((((q @ k.mT) * q.shape[-1] ** -0.5).softmax(-1) @ v).transpose(0, 1))
    return torch.cat(out)


def drawn():
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(4, 3, 5, 8, generator=generator, requires_grad=True)
    key, value = (torch.randn(4, 3, 7, 8, generator=generator, requires_grad=True) for _ in range(2))
    visible = torch.rand(4, 7, generator=generator) > 0.4
    visible[0], visible[1] = True, torch.tensor([False] * 6 + [True])
    return query, key, value, visible


def test_packed_keys_give_what_masked_keys_give_in_output_and_gradients():
    query, key, value, visible = drawn()
    results = []
    for out in (
        attend(query, key, value, visible[:, None, None], backend="eager"),
        packed_attention(query, key, value, visible, SlowKernel.apply),
    ):
        results.append((out, *torch.autograd.grad(out.square().sum(), [query, key, value])))
    for reference, packed in zip(*results, strict=True):
        torch.testing.assert_close(packed, reference, atol=1e-5, rtol=1e-5)


def test_a_row_without_visible_keys_stays_finite():
    query, key, value, visible = drawn()
    visible[2] = False
    out = packed_attention(query, key, value, visible, SlowKernel.apply)
    grads = torch.autograd.grad(out.sum(), [query, key, value])
    assert all(x.isfinite().all() for x in (out, *grads))


def test_packing_reads_nothing_back(monkeypatch):
    """A tensor without values cannot be read, nor can the number of visible keys be known."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        query = torch.empty(4, 3, 5, 8, device="cuda:0")
        visible = torch.empty(4, 7, dtype=torch.bool, device="cuda:0")
        key = torch.empty(4, 3, 7, 8, device="cuda:0")
        out = packed_attention(query, key, key, visible, lambda query, *_: query)
    assert out.shape == (4, 3, 5, 8)


@pytest.mark.parametrize(("device", "dtype"), [("cpu", torch.bfloat16), ("cuda", torch.float32)])
def test_torch_has_no_kernel_for_packed_keys_on_a_cpu_or_in_full_precision(device, dtype):
    assert varlen_kernel(device, dtype) is None
