"""The temperature of the contrastive loss: a learned scalar that similarities are divided by, kept in a range."""

import torch
from torch import nn

RANGE = (0.001, 0.5)


def new_temperature(start: float) -> nn.Parameter:
    """A learned temperature that starts at ``start``."""
    return nn.Parameter(torch.tensor(float(start)))


@torch.no_grad()
def clamp_temperature(temperature: nn.Parameter | None) -> None:
    """Bring a temperature back into :data:`RANGE`; None is left alone."""
    if temperature is not None:
        temperature.clamp_(*RANGE)
