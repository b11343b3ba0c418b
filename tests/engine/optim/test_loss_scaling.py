"""Loss scaling in fp16."""

import torch

from tests.engine.optim.linear import linear, wrapped
from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper
from x2vlm.engine.optim.published_adamw import PublishedAdamW


def test_with_fp16_an_overflow_lowers_the_scale_and_a_bad_loss_does_not():
    parameter = torch.nn.Parameter(torch.ones(2))
    wrapper = MixedOptimWrapper(PublishedAdamW([parameter], lr=0.1), precision="fp16")
    before = torch.tensor(wrapper.scaler.get_scale())
    for bad, factor, left in ((1.0, 1.0, before), (0.0, torch.inf, before / 2)):
        wrapper.add_gradients((factor * parameter).sum())
        wrapper.update_now(torch.tensor(bad))
        assert wrapper.skipped == 1.0
        wrapper.uncount_update()
        assert wrapper.scaler.get_scale() == left
    assert parameter.tolist() == [1.0, 1.0]
    assert wrapper.optimizer.state[parameter]["step"] == 0


def test_an_fp16_update_that_overflows_is_skipped_and_the_scale_lowered():
    model = linear()
    optimizer = wrapped(model, precision="fp16")
    before = optimizer.scaler.get_scale()
    optimizer.add_gradients(model(torch.tensor([[1.0, 1.0]])).sum() * float("inf"))
    optimizer.finish_iteration()
    assert model.weight.tolist() == [[1.0, 1.0]]
    assert optimizer.scaler.get_scale() == before / 2


def test_the_loss_scale_is_part_of_the_state():
    model = linear()
    optimizer = wrapped(model, precision="fp16")
    optimizer.add_gradients(model(torch.tensor([[1.0, 1.0]])).sum() * float("inf"))
    optimizer.finish_iteration()
    again = wrapped(linear(), precision="fp16")
    again.load_state_dict(optimizer.state_dict())
    assert again.scaler.get_scale() == optimizer.scaler.get_scale()
    wrapped(linear()).load_state_dict(optimizer.state_dict())  # and fp32 can go on from it
