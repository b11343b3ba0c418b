"""Which attention backend is chosen for a kind of call, on devices that this machine may lack."""

import sys

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from x2vlm.models.layers import attention, backends, xformers_build
from x2vlm.models.layers.attention import attend, choose, chosen_backend
from x2vlm.models.layers.xformers_build import mismatch
from x2vlm.registry import ATTENTION_BACKENDS

absent = pytest.mark.skipif(torch.cuda.is_available(), reason="requires a machine without a GPU")


def chosen_name(device, refused=(), dtype=torch.bfloat16, backend="auto", **call):
    """The choice where all backends run but those refused."""
    call = dict(masked=False, biased=False, dropped=False) | call
    return choose(backend, device, dtype, **call, refusal=lambda name, *_: "no kernel" if name in refused else None)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (dict(), "sdpa"),
        (dict(masked=True), "sdpa"),
        (dict(masked=True, dropped=True), "sdpa"),
        (dict(ragged=True), "sdpa_without_cudnn"),
        (dict(ragged=True, masked=True, dropped=True), "sdpa_without_cudnn"),
        (dict(biased=True), "sdpa_without_cudnn"),
        (dict(biased=True, dropped=True), "sdpa_without_cudnn"),
        (dict(biased=True, frozen=True), "sdpa"),
        (dict(biased=True, frozen=True, ragged=True), "sdpa_without_cudnn"),
    ],
)
def test_on_cuda_torch_prefers_for_itself_only_where_shapes_repeat_and_no_bias_learns(call, name):
    assert chosen_name("cuda", **call) == name


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize(("biased", "name"), [(False, "sdpa"), (True, "flash_bias")])
def test_on_a_cpu_shapes_that_vary_change_nothing(biased, name, frozen, ragged):
    assert chosen_name("cpu", biased=biased, frozen=frozen, ragged=ragged) == name


def test_what_does_not_run_is_passed_over():
    assert chosen_name("cuda", refused={"sdpa_without_cudnn"}, ragged=True) == "eager"
    assert chosen_name("cpu", refused={"flash_bias"}, biased=True) == "sdpa"
    with pytest.raises(ValueError, match=r"with a fixed bias cannot run on cuda .*: sdpa: no kernel; eager: no kernel"):
        chosen_name("cuda", refused={"sdpa", "eager"}, biased=True, frozen=True)


@pytest.mark.parametrize("name", ATTENTION_BACKENDS.module_dict)
def test_who_names_a_backend_gets_it_or_an_error(name):
    assert chosen_name("cuda", backend=name, ragged=True) == name
    with pytest.raises(ValueError, match=f"{name}: no kernel. Use 'auto' or 'eager'"):
        chosen_name("cuda", backend=name, refused={name})


@absent
@pytest.mark.parametrize("ragged", [False, True])
def test_for_a_device_that_is_not_there_the_rules_decide_and_nothing_is_run(monkeypatch, ragged):
    monkeypatch.setattr(attention, "why_not", lambda run: pytest.fail("ran"))
    attention._cached_choice.cache_clear()
    name = chosen_backend("auto", "cuda", torch.bfloat16, True, False, False, ragged)
    assert name == ("sdpa_without_cudnn" if ragged else "sdpa")


def test_a_bias_counts_as_learned_only_where_its_gradient_is_wanted(monkeypatch):
    seen = []
    monkeypatch.setattr(attention, "chosen_backend", lambda *call: seen.append(call[-1]) or "eager")
    query, bias = torch.ones(1, 1, 2, 8), torch.zeros(1, 1, 2, 2, requires_grad=True)
    attend(query, query, query, bias=bias)
    attend(query, query, query, bias=bias.detach())
    with torch.no_grad():
        attend(query, query, query, bias=bias)
    assert seen == [False, True, True]


def fake_query():
    return torch.empty(2, 3, 5, 16, dtype=torch.bfloat16, device="cuda:0")


@absent
@pytest.mark.parametrize(("ragged", "allowed"), [(False, True), (True, False)])
def test_a_call_of_varying_shape_never_reaches_cudnn_and_others_may(monkeypatch, ragged, allowed):
    states, original = [], F.scaled_dot_product_attention
    given = lambda *a, **k: states.append(torch.backends.cuda.cudnn_sdp_enabled()) or original(*a, **k)  # noqa: E731
    monkeypatch.setattr(backends.F, "scaled_dot_product_attention", given)
    with FakeTensorMode():
        query = fake_query()
        assert attend(query, query, query, ragged=ragged).shape == query.shape
    assert states == [allowed]
    assert torch.backends.cuda.cudnn_sdp_enabled()  # as before


@absent
@pytest.mark.parametrize(("masked", "biased", "given"), [(True, False, "mask"), (False, True, "bias")])
def test_flash_on_cuda_says_that_it_takes_no_mask_and_what_does(masked, biased, given):
    with FakeTensorMode():
        query = fake_query()
        mask = torch.ones(2, 1, 1, 5, dtype=torch.bool, device="cuda:0") if masked else None
        bias = torch.zeros(1, 3, 5, 5, device="cuda:0") if biased else None
        with pytest.raises(NotImplementedError, match=f"takes no {given} on CUDA; 'sdpa_without_cudnn' does"):
            attend(query, query, query, mask, bias, backend="flash")


class Names(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls.append(func)
        return func(*args, **(kwargs or {}))


def test_the_search_for_a_kernel_is_no_part_of_what_the_caller_records():
    query = torch.ones(1, 1, 2, 8)
    counts = []
    for _ in range(2):  # first with the search, then without
        if not counts:
            attention._cached_choice.cache_clear()
        with Names() as names:
            attend(query, query, query)
        counts.append(len(names.calls))
    assert counts[0] == counts[1]


def test_the_choice_is_the_same_for_tensors_that_are_only_shapes():
    found = []
    for mode in (FakeTensorMode(), torch.no_grad()):
        attention._cached_choice.cache_clear()
        with mode:
            found.append(chosen_backend("auto", "cpu", torch.float32, True, True, False))
    assert found[0] == found[1] == "flash_bias"


@pytest.mark.slow
@pytest.mark.parametrize("ragged", [False, True])
def test_attention_is_traced_in_one_piece(ragged):
    torch.compiler.assume_constant_result(chosen_backend)

    def layer(query, mask):
        return attend(query * 2, query, query, mask, ragged=ragged) + 1

    query = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 1, 1, 5, dtype=torch.bool)
    traced = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(traced(query, mask), layer(query, mask))


BUILT = {"version": {"torch": "2.10.0+cu128", "cuda": 1208}}
OLD = {"version": {"torch": "2.6.0+cu124", "cuda": 1204}}


@pytest.mark.parametrize(
    ("built", "torch_version", "cuda", "fits"),
    [
        (BUILT, "2.10.1+cu128", "12.8", True),
        (BUILT, "2.14.0+cu126", "12.6", True),
        (BUILT, "2.11.0+cu130", "13.0", False),  # another CUDA
        (BUILT, "2.9.1+cu128", "12.8", False),  # an older torch
        (OLD, "2.6.0+cu124", "12.4", True),
        (OLD, "2.7.0+cu124", "12.4", False),  # before kernels could be loaded beside a later torch
        ({"version": {"torch": "2.10.0", "cuda": None}}, "2.10.0+cpu", None, True),
    ],
)
def test_the_record_of_the_build_of_xformers_says_whether_its_kernels_would_load(built, torch_version, cuda, fits):
    reason = mismatch(built, torch_version, cuda)
    assert (reason is None) == fits
    assert fits or (built["version"]["torch"] in reason and torch_version in reason)


def test_xformers_of_another_torch_is_refused_without_importing_it(monkeypatch, tmp_path):
    package = tmp_path / "xformers"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    (package / "cpp_lib.json").write_text('{"version": {"torch": "2.3.0+cu121", "cuda": 1201}}')
    for name in [name for name in sys.modules if name.partition(".")[0] == "xformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    xformers_build._record.cache_clear()
    try:
        with pytest.raises(NotImplementedError, match=r"built for torch 2.3.0\+cu121, and this is torch"):
            xformers_build.check_xformers("cuda")
    finally:
        xformers_build._record.cache_clear()
