"""One update from several backward passes; accumulation, clipping, precision."""

import pytest
import torch
from torch import nn

from tests.engine.optim.linear import linear, wrapped
from x2vlm.engine.optim.autocast import autocast
from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper


def test_two_backward_passes_are_one_update():
    model = linear()
    optimizer = wrapped(model)
    optimizer.add_gradients(model(torch.tensor([[1.0, 0.0]])).sum())
    optimizer.add_gradients(model(torch.tensor([[0.0, 2.0]])).sum())
    assert optimizer.finish_iteration()
    assert model.weight.tolist() == [[0.0, -1.0]]
    assert model.weight.grad is None


def test_the_sum_is_clipped_and_not_its_parts():
    model = linear()
    optimizer = wrapped(model, clip_grad=dict(max_norm=1.0))
    optimizer.add_gradients(3 * model(torch.tensor([[1.0, 0.0]])).sum())
    optimizer.add_gradients(4 * model(torch.tensor([[0.0, 1.0]])).sum())
    optimizer.finish_iteration()
    assert optimizer.grad_norm.item() == pytest.approx(5)
    assert (1 - model.weight).flatten().tolist() == pytest.approx([0.6, 0.8], abs=1e-5)


def test_accumulation_averages_iterations_whatever_the_number_of_passes():
    model = linear()
    optimizer = wrapped(model, accumulative_counts=2)
    optimizer.initialize_count_status(model, 0, 10)
    updates = []
    for factor in (1.0, 3.0):
        optimizer.add_gradients(factor * model(torch.tensor([[1.0, 0.0]])).sum())
        optimizer.add_gradients(factor * model(torch.tensor([[0.0, 1.0]])).sum())
        updates.append(optimizer.finish_iteration())
    assert updates == [False, True]
    assert model.weight.tolist() == [[-1.0, -1.0]]  # 1 - mean(1, 3)


def test_the_last_iterations_of_a_run_are_not_lost_when_they_fill_no_accumulation():
    model = linear()
    optimizer = wrapped(model, accumulative_counts=2)
    optimizer.initialize_count_status(model, 2, 3)
    optimizer.add_gradients(model(torch.tensor([[1.0, 0.0]])).sum())
    assert optimizer.finish_iteration()
    assert model.weight.tolist() == [[0.0, 1.0]]  # not divided by 2


@pytest.mark.parametrize(
    ("precision", "dtype", "skipped"),
    [("fp32", torch.float32, 0), ("bf16", torch.bfloat16, 0), ("fp16", torch.float16, 2)],
)
def test_every_precision_runs_and_updates_on_cpu(precision, dtype, skipped):
    model = linear()
    optimizer = wrapped(model, precision=precision, clip_grad=dict(max_norm=100.0))
    for _ in range(skipped + 1):  # the scale that fp16 starts with is too large for these gradients, twice
        assert model.weight.tolist() == [[1.0, 1.0]]
        with autocast(optimizer.precision, torch.device("cpu")):
            out = model(torch.tensor([[1.0, 2.0]]))
        assert out.dtype == dtype
        optimizer.add_gradients(out.float().sum())
        optimizer.finish_iteration()
    assert model.weight.dtype == torch.float32
    assert model.weight.flatten().tolist() == pytest.approx([0.0, -1.0])


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match=r"precision 'fp8' is not known\. Accepted: fp32, bf16, fp16"):
        wrapped(linear(), precision="fp8")


def test_mmengines_own_update_still_works():
    model = linear()
    optimizer = wrapped(model, precision="bf16")
    with optimizer.optim_context(model):
        loss = model(torch.tensor([[1.0, 0.0]])).sum()
    optimizer.update_params(loss)
    assert model.weight.tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("theirs", [True, False])
def test_a_run_goes_on_with_its_own_kernels_whatever_the_checkpoint_says(theirs):
    start = torch.randn(5, generator=torch.Generator().manual_seed(0))
    wrappers = []
    for fused in (theirs, not theirs):
        parameter = nn.Parameter(start.clone())
        wrappers.append(MixedOptimWrapper(torch.optim.AdamW([parameter], lr=0.1, fused=fused)))
        parameter.grad = torch.ones(5)
    wrappers[0].optimizer.step()
    wrappers[1].load_state_dict(wrappers[0].state_dict())
    (group,) = wrappers[1].optimizer.param_groups
    assert group["fused"] is not theirs
    wrappers[1].optimizer.step()
    assert wrappers[1].optimizer.state[group["params"][0]]["step"] == 2


@pytest.mark.parametrize(
    ("clip_grad", "message"),
    [
        (dict(max_norm=-1.0), r"clip_grad\.max_norm is -1\.0; expected a number above 0"),  # would climb
        (dict(max_norm="1"), r"clip_grad\.max_norm is '1'; expected a number above 0"),
        (dict(max_nrm=1.0), r"clip_grad has no argument 'max_nrm'\. Did you mean 'max_norm'\?"),
        (dict(type="value", max_norm=1.0), r"clip_grad needs the argument 'clip_value'"),
        (dict(type="size", max_norm=1.0), r"clip_grad\.type is 'size'\. Accepted: norm, value"),
    ],
)
def test_clipping_that_could_not_be_meant_is_refused_before_the_first_update(clip_grad, message):
    with pytest.raises(ValueError, match=message):
        wrapped(linear(), clip_grad=clip_grad)
