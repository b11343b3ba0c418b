"""Losses of a step: computed by the model for several streams, summed, and named for the log."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.data.batch import Batch


def compute_losses(
    model: nn.Module, batches: Mapping[str, Batch], objectives: Mapping[str, Any]
) -> dict[str, dict[str, Tensor]]:
    """Losses and metrics by stream; the batches of several streams go through the model together.

    Args:
        model: The model.
        batches: By stream.
        objectives: By stream: names of objectives, or a factor of the loss for each name.
    """
    if len(batches) > 1:
        return model(batches, mode="loss", objectives={name: objectives[name] for name in batches})
    return {name: model(batch, mode="loss", objectives=objectives[name]) for name, batch in batches.items()}


def sum_of_losses(outputs: Mapping[str, Tensor]) -> Tensor:
    """Sum of the entries with "loss" in their name, in fp32; other entries are metrics for the log.

    Raises:
        ValueError: If there is no such entry.
    """
    losses = [value for key, value in outputs.items() if "loss" in key]
    if not losses:
        raise ValueError(f"the objectives returned no loss, only: {', '.join(outputs) or 'nothing'}.")
    return torch.stack([loss.float() for loss in losses]).sum()


def named_scalars(outputs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Detached losses and metrics of several streams, as ``<stream>.<name>``."""
    return {
        f"{stream}.{key}": torch.as_tensor(value).detach()
        for stream, scalars in outputs.items()
        for key, value in scalars.items()
    }
