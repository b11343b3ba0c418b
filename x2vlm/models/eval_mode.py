"""Evaluation mode as a context manager."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode (no dropout, no drop path) without gradients; the mode of every module is restored afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def at_rest(module: nn.Module) -> Iterator[None]:
    """As :func:`eval_mode`, and no random number of the process is used up."""
    with torch.random.fork_rng(devices=[]), eval_mode(module):
        yield
