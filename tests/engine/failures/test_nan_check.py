"""The NaN check of one update."""

from dataclasses import replace

import torch

from x2vlm.data.batch import Batch
from x2vlm.engine.failures.nan_check import AsyncRead, bad_losses, check_finite, defers_check, skips_on_device
from x2vlm.engine.optim.published_adamw import PublishedAdamW


def test_only_optimizers_that_skip_on_the_device_are_checked_later_and_only_on_gpus():
    parameters = [torch.nn.Parameter(torch.ones(2))]
    fused, plain = (torch.optim.AdamW(parameters, fused=on) for on in (True, False))
    optimizers = [PublishedAdamW(parameters), fused, plain, torch.optim.SGD(parameters, fused=True)]
    assert [skips_on_device(one) for one in optimizers] == [True, True, False, False]
    assert [defers_check(one, torch.device("cuda")) for one in optimizers] == [True, True, False, False]
    assert not defers_check(fused, torch.device("cpu"))


def test_what_is_read_later_is_what_was_there_then():
    read = AsyncRead(torch.tensor([1.0, 0.0]))
    assert (read.is_ready(), read.tolist()) == (True, [1.0, 0.0])


def test_a_bad_gradient_is_detected_by_its_norm():
    model = torch.nn.Linear(2, 2)
    model.weight.grad, model.bias.grad = torch.ones(2, 2), torch.tensor([1.0, torch.nan])
    check = check_finite(torch.tensor(1.0), model)
    assert (check.names, check.here, check.anywhere) == (("weight", "bias"), 1.0, 1.0)
    assert check.norms.isfinite().tolist() == [True, False]


def test_a_long_list_of_records_is_cut(config):
    batch = Batch(torch.zeros(20, 1), torch.ones(20, 1), where=[f"a:{n}" for n in range(20)])
    scalars = {"loss": torch.tensor(torch.inf), "image.loss_itc": torch.tensor(torch.inf)}
    (line,) = bad_losses(scalars, {"image": batch, "text": replace(batch, where=["b:0"])})
    assert line == f"  image.loss_itc is inf. Records: {', '.join(f'a:{n}' for n in range(8))}, and 12 more"
