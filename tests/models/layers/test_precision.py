"""Weights cast together: the numbers of autocast, fewer kernels."""

from contextlib import nullcontext

import pytest
import torch

from tests.models.conftest import image_batch, region_batch, tiny_model
from x2vlm.benchmark.timing.operator_counts import OperatorCounts
from x2vlm.models import x2vlm
from x2vlm.models.layers.precision import cast_linears, cast_once

STREAMS = {"image": ["itc", "itm", "mlm"], "region": ["itc", "itm", "mlm", "bbox"]}


def bf16():
    return torch.autocast("cpu", dtype=torch.bfloat16)


def step(model):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    with bf16():
        outputs = model.train()({"image": image_batch(), "region": region_batch()}, objectives=STREAMS)
    sum(value for own in outputs.values() for value in own.values()).backward()
    losses = {f"{stream}.{key}": value.detach() for stream, own in outputs.items() for key, value in own.items()}
    return losses, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_weights_that_are_cast_together_give_the_losses_and_gradients_of_autocast(monkeypatch):
    model = tiny_model()
    losses, grads = step(model)
    monkeypatch.setattr(x2vlm, "cast_linears", lambda blocks: nullcontext())
    reference_losses, reference_grads = step(model)
    assert losses.keys() == reference_losses.keys() and grads.keys() == reference_grads.keys()
    for ours, reference in ((losses, reference_losses), (grads, reference_grads)):
        for name, value in ours.items():
            assert value.dtype == reference[name].dtype
            torch.testing.assert_close(value, reference[name], atol=2e-2, rtol=2e-2, msg=name)


def test_a_step_casts_less_often(monkeypatch):
    model = tiny_model()
    with OperatorCounts() as together:
        step(model)
    monkeypatch.setattr(x2vlm, "cast_linears", lambda blocks: nullcontext())
    with OperatorCounts() as alone:
        step(model)
    assert together.by_name["aten::_to_copy"] < 0.8 * alone.by_name["aten::_to_copy"]


def test_a_linear_layer_has_its_own_weights_again_and_gets_their_gradients():
    block = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    weight = block[0].weight
    with bf16():
        with cast_linears([block]):
            assert block[0].weight.dtype == torch.bfloat16
            assert block[1].weight.dtype == torch.float32  # norms stay as they are
            out = block(torch.ones(1, 3))
        assert block[0].weight is weight
        out.sum().backward()
    assert weight.grad.dtype == torch.float32
    with bf16(), pytest.raises(RuntimeError), cast_linears([block]):
        block(torch.ones(1, 4))
    assert block[0].weight is weight


def test_nothing_is_cast_without_autocast_or_gradients():
    block = torch.nn.Sequential(torch.nn.Linear(3, 2))
    weight = block[0].weight
    with cast_linears([block]):
        assert block[0].weight is weight
    with bf16(), torch.no_grad(), cast_linears([block]):
        assert block[0].weight is weight
    assert cast_once(weight) is weight
    with bf16():
        assert cast_once(weight).dtype == torch.bfloat16
