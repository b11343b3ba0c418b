import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from x2vlm.models.autograd.recompute import Linear, feed_forward, normed_linear, scaled_linear

NAMES = ("hidden", "gain", "shift", "weight1", "bias1", "weight2", "bias2", "scale")


def tensors(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = (2, 3, 4), (4,), (4,), (6, 4), (6,), (4, 6), (4,), (4,)
    drawn = (torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes)
    return dict(zip(NAMES, drawn, strict=True))


def norm_of(t):
    norm = nn.LayerNorm(4, eps=1e-6).to(t["gain"].dtype)
    del norm.weight, norm.bias
    norm.weight, norm.bias = t["gain"], t["shift"]
    return norm


def recomputed_normed(t):
    return normed_linear(t["hidden"], norm_of(t), Linear(t["weight1"], t["bias1"]))


def reference_normed(t):
    return F.linear(F.layer_norm(t["hidden"], (4,), t["gain"], t["shift"], 1e-6), t["weight1"], t["bias1"])


def recomputed_feed_forward(t, normed, scaled):
    layers = Linear(t["weight1"], t["bias1"]), Linear(t["weight2"], t["bias2"])
    return feed_forward(t["hidden"], *layers, norm_of(t) if normed else None, t["scale"] if scaled else None)


def reference_feed_forward(t, normed, scaled):
    hidden = F.layer_norm(t["hidden"], (4,), t["gain"], t["shift"], 1e-6) if normed else t["hidden"]
    out = F.linear(F.gelu(F.linear(hidden, t["weight1"], t["bias1"])), t["weight2"], t["bias2"])
    return out * t["scale"] if scaled else out


def with_gradients(compute, t):
    """What comes out, and the gradients of all tensors that it depends on."""
    for one in t.values():
        one.grad = None
    out = compute(t)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
    (out.float() * weights).sum().backward()
    return {"out": out.detach()} | {name: one.grad for name, one in t.items() if one.grad is not None}


KINDS = {"norm": (recomputed_normed, reference_normed)} | {
    f"feed-forward {normed} {scaled}": (
        lambda t, n=normed, s=scaled: recomputed_feed_forward(t, n, s),
        lambda t, n=normed, s=scaled: reference_feed_forward(t, n, s),
    )
    for normed in (False, True)
    for scaled in (False, True)
}


def recomputed_scaled(t):
    return scaled_linear(F.linear(t["hidden"], t["weight1"]), Linear(t["weight2"], t["bias2"]), t["scale"])


def reference_scaled(t):
    return F.linear(F.linear(t["hidden"], t["weight1"]), t["weight2"], t["bias2"]) * t["scale"]


ALL = KINDS | {"scaled": (recomputed_scaled, reference_scaled)}


@pytest.mark.parametrize("kind", ALL)
def test_values_and_gradients_are_those_of_the_layers_written_out(kind):
    recomputed, reference = ALL[kind]
    t = tensors()
    ours, theirs = with_gradients(recomputed, t), with_gradients(reference, t)
    assert ours.keys() == theirs.keys()
    for name in ours:
        torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
    with torch.no_grad():
        torch.testing.assert_close(recomputed(t), reference(t), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", ALL)
def test_gradients_are_those_of_finite_differences(kind):
    recomputed, t = ALL[kind][0], tensors(torch.float64)
    assert torch.autograd.gradcheck(lambda *given: recomputed(dict(zip(NAMES, given, strict=True))), tuple(t.values()))


@pytest.mark.parametrize("kind", ALL)
def test_below_fp32_gradients_have_the_precision_of_what_they_belong_to(kind):
    recomputed, reference = ALL[kind]
    t = tensors()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = with_gradients(recomputed, t)
    exact = with_gradients(reference, t)
    assert ours.pop("out").dtype == torch.bfloat16
    for name, grad in ours.items():
        assert grad.dtype == torch.float32
        assert (grad - exact[name]).norm() < 0.03 * exact[name].norm(), name


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_of_norms_and_of_gelus_are_not_kept(kind):
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        t = tensors()
        KINDS[kind][0](t)
    own = {one.data_ptr() for one in t.values()}
    made = sorted(one.numel() for one in kept if one.data_ptr() not in own)
    moments = [6, 6] * ("norm" in kind or "True" in kind.split()[1:2])
    assert made == moments + [36] * ("feed" in kind)  # into GELU


def test_a_scaled_weight_is_not_kept_where_it_is_no_cast():
    kept, t = [], tensors()
    read = F.linear(t["hidden"], t["weight1"]).detach()
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        scaled_linear(read, Linear(t["weight2"], t["bias2"]), t["scale"])
    own = {one.data_ptr() for one in (*t.values(), read)}
    assert not [one.shape for one in kept if one.data_ptr() not in own]


class Casts(TorchDispatchMode):
    """Shapes of what is made in half precision from something else."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.mul.out) and out.dtype == torch.bfloat16:
            self.shapes.append(tuple(out.shape))
        return out


@pytest.mark.parametrize("kind", ALL)
def test_under_autocast_each_weight_is_cast_once_for_both_passes(kind):
    t = tensors()
    with Casts() as casts:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = ALL[kind][0](t)
        out.float().sum().backward()
    wanted = [(6, 4)] + [(4, 6)] * ("norm" not in kind)
    assert [shape for shape in casts.shapes if shape in {(6, 4), (4, 6)}] == wanted


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("frozen", NAMES)
def test_gradients_that_nobody_needs_are_left_out_and_the_others_stay(kind, frozen):
    t = tensors()
    every = with_gradients(ALL[kind][0], t)
    t[frozen].requires_grad_(False)
    rest = with_gradients(ALL[kind][0], t)
    assert rest.keys() == every.keys() - {frozen}
    for name in rest:
        torch.testing.assert_close(rest[name], every[name], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("learned", NAMES)
def test_a_single_learned_tensor_gets_its_gradient(kind, learned):
    t = tensors()
    every = with_gradients(KINDS[kind][0], t)
    if learned not in every:
        pytest.skip("is not read")
    for name, one in t.items():
        one.requires_grad_(name == learned)
    alone = with_gradients(KINDS[kind][0], t)
    assert alone.keys() == {"out", learned}
    torch.testing.assert_close(alone[learned], every[learned], atol=1e-6, rtol=1e-6)


def test_with_frozen_weights_only_their_own_products_are_left_out():
    t = tensors()
    for name in ("weight1", "bias1", "weight2", "bias2", "gain", "shift", "scale"):
        t[name].requires_grad_(False)
    out = recomputed_feed_forward(t, normed=True, scaled=True)
    products = []
    with Products(products):
        out.sum().backward()
    assert len(products) == 2


class Products(TorchDispatchMode):
    def __init__(self, names):
        super().__init__()
        self.names = names

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.names.append(func)
        return func(*args, **(kwargs or {}))
