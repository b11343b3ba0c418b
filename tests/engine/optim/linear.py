"""A linear layer of two ones, and its optimizer wrapper."""

import torch
from torch import nn

from x2vlm.engine.optim.optim_wrapper import MixedOptimWrapper


def linear() -> nn.Linear:
    model = nn.Linear(2, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    return model


def wrapped(model: nn.Module, lr: float = 1.0, **options) -> MixedOptimWrapper:
    return MixedOptimWrapper(torch.optim.SGD(model.parameters(), lr=lr), **options)
