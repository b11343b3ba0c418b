"""AdamW of the published code against its formula."""

from math import sqrt

import pytest
import torch
from torch import nn

from x2vlm.engine.optim.published_adamw import PublishedAdamW


def test_the_published_update_is_the_formula_of_the_specification():
    lr, beta1, beta2, eps, decay = 0.1, 0.9, 0.98, 1e-2, 0.5
    weight, mean, square = 2.0, 0.0, 0.0
    parameter = nn.Parameter(torch.tensor([2.0], dtype=torch.float64))
    optimizer = PublishedAdamW([parameter], lr=lr, betas=(beta1, beta2), eps=eps, weight_decay=decay)
    for step, grad in enumerate([0.3, -0.1, 0.7], start=1):
        parameter.grad = torch.tensor([grad], dtype=torch.float64)
        optimizer.step()
        mean = beta1 * mean + (1 - beta1) * grad
        square = beta2 * square + (1 - beta2) * grad**2
        weight -= lr * sqrt(1 - beta2**step) / (1 - beta1**step) * mean / (sqrt(square) + eps)
        weight -= lr * decay * weight
        assert parameter.item() == pytest.approx(weight, rel=1e-12)


def test_without_eps_and_decay_the_published_update_is_adam():
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    mine = PublishedAdamW([ours], lr=0.01, eps=0.0, weight_decay=0.0)
    adam = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.98), eps=0.0)
    for step in range(5):
        ours.grad = theirs.grad = torch.tensor([0.1, -2.0, 0.5]) * (step + 1)
        mine.step(), adam.step()
    torch.testing.assert_close(ours, theirs)


def one_by_one(parameter, grad, state, lr, betas, eps, weight_decay):
    """The published update of one parameter, written out."""
    (beta1, beta2), step = betas, state["step"]
    mean = state["exp_avg"].lerp_(grad, 1 - beta1)
    square = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    size = lr * sqrt(1 - beta2**step) / (1 - beta1**step)
    parameter.addcdiv_(mean, square.sqrt().add_(eps), value=-size)
    parameter.mul_(1 - lr * weight_decay)


@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-14), (torch.float32, 5e-7)])
@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_all_parameters_at_once_are_updated_as_one_by_one(eps, dtype, close):
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 70), (), (129,), (2, 3, 4), (0, 3)]
    options = dict(lr=3e-3, betas=(0.9, 0.98), eps=eps, weight_decay=0.01)
    ours = [nn.Parameter(torch.randn(shape, generator=generator, dtype=dtype)) for shape in shapes]
    theirs = [parameter.detach().clone() for parameter in ours]
    states = [dict(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p)) for p in theirs]
    optimizer = PublishedAdamW([dict(params=ours[:2]), dict(params=ours[2:], lr=1e-3)], **options)
    for step in range(6):
        for number, parameter in enumerate(ours):
            parameter.grad = None
            if (step + number) % 3:  # some have no gradient at times, and fall behind
                parameter.grad = torch.randn(parameter.shape, generator=generator, dtype=dtype)
                states[number]["step"] += 1
                lr = {"lr": 1e-3} if number >= 2 else {}
                one_by_one(theirs[number], parameter.grad, states[number], **{**options, **lr})
        optimizer.step()
    for parameter, expected, state in zip(ours, theirs, states, strict=True):
        torch.testing.assert_close(parameter.detach(), expected, atol=close, rtol=close)
        found = optimizer.state[parameter]
        assert found["step"] == state["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(found[name], state[name], atol=close, rtol=close)


def test_a_gradient_may_lie_in_memory_otherwise_than_its_parameter():
    grad = torch.arange(6.0).view(3, 2).T
    updated = []
    for one in (grad, grad.contiguous()):
        parameter = nn.Parameter(torch.ones(2, 3))
        parameter.grad = one
        PublishedAdamW([parameter], lr=0.1).step()
        updated.append(parameter)
    assert torch.equal(*updated)


def test_the_published_update_goes_on_from_its_state_to_the_bit():
    start = torch.randn(5, generator=torch.Generator().manual_seed(0))
    whole, first, second = (nn.Parameter(start.clone()) for _ in range(3))
    optimizers = {p: PublishedAdamW([p], lr=1e-2) for p in (whole, first, second)}
    for step in range(4):
        for parameter in (whole, first if step < 2 else second):
            parameter.grad = torch.full((5,), step - 1.5)
            optimizers[parameter].step()
        if step == 1:
            state = optimizers[first].state_dict()
            assert {name: value.shape for name, value in state["state"][0].items()} == {
                "step": (),
                "exp_avg": (5,),
                "exp_avg_sq": (5,),
            }
            optimizers[second].load_state_dict(state)
            second.data.copy_(first.data)
    assert torch.equal(whole, second)


def test_a_decay_that_leaves_nothing_of_a_weight_is_refused():
    parameter = nn.Parameter(torch.ones(1))
    parameter.grad = torch.ones(1)
    with pytest.raises(ValueError, match=r"lr=2.0 times weight_decay=0.5 leaves nothing of a weight"):
        PublishedAdamW([parameter], lr=2.0, weight_decay=0.5).step()


def test_sharded_parameters_are_updated_as_full_ones(tmp_path):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        start = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
        whole, sharded = nn.Parameter(start.clone()), nn.Parameter(distribute_tensor(start.clone(), mesh, [Shard(0)]))
        optimizers = [PublishedAdamW([p], lr=1e-2) for p in (whole, sharded)]
        for step in range(3):
            grad = torch.full((4, 3), step - 0.5)
            whole.grad, sharded.grad = grad, distribute_tensor(grad, mesh, [Shard(0)])
            for optimizer in optimizers:
                optimizer.step()
        assert torch.equal(sharded.full_tensor(), whole)
    finally:
        torch.distributed.destroy_process_group()


def test_a_published_step_that_is_uncounted_leaves_no_trace():
    once, twice = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    for parameter in (once, twice):
        optimizer = PublishedAdamW([parameter], lr=0.1)
        if parameter is twice:
            parameter.grad, optimizer.found_inf = torch.full((3,), torch.nan), torch.tensor(1.0)
            optimizer.step()
            del optimizer.found_inf
            optimizer.uncount_step()
            assert optimizer.state[parameter]["step"] == 0
        parameter.grad = torch.tensor([0.1, -2.0, 0.5])
        optimizer.step()
    assert torch.equal(once, twice)


def test_gradients_are_divided_by_the_scale_that_torchs_scaler_hands_over():
    scaled, plain = (torch.nn.Parameter(torch.ones(3)) for _ in range(2))
    for parameter, factor in ((scaled, 4.0), (plain, 1.0)):
        optimizer = PublishedAdamW([parameter], lr=0.1, eps=1e-2)
        parameter.grad = factor * torch.tensor([0.5, -2.0, 0.25])
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(factor), torch.tensor(0.0)
        optimizer.step()
    assert torch.equal(scaled, plain)
