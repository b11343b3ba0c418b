"""What a step makes of the losses that the objectives give: their sum, or an error that names the culprit."""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.data.batch import Batch

_PLACES = 8  # records to name


class NotFiniteError(RuntimeError):
    """A loss or a gradient that is NaN or infinite."""


def sum_of_losses(outputs: Mapping[str, Tensor]) -> Tensor:
    """The sum of what has "loss" in its name; the rest is for the log."""
    losses = [value for key, value in outputs.items() if "loss" in key]
    if not losses:
        raise ValueError(f"the objectives gave no loss, only: {', '.join(outputs) or 'nothing'}.")
    return torch.stack([loss.float() for loss in losses]).sum()


def with_stream_weights(update: Mapping[str, Any], weights: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """For every objective of every stream the factor of its losses, which the model applies beside its own weight.

    Args:
        update: Objectives of each stream: names, or a factor for each name.
        weights: Of the streams.
    """
    return {
        stream: {
            name: weights[stream] * (objectives[name] if isinstance(objectives, Mapping) else 1.0)
            for name in objectives
        }
        for stream, objectives in update.items()
    }


def losses_of(
    model: nn.Module, batches: Mapping[str, Batch], objectives: Mapping[str, Any]
) -> dict[str, dict[str, Tensor]]:
    """What the objectives of some streams give, by stream; several go through the model together."""
    if len(batches) > 1:
        return model(batches, mode="loss", objectives={name: objectives[name] for name in batches})
    return {name: model(batch, mode="loss", objectives=objectives[name]) for name, batch in batches.items()}


def named_scalars(outputs: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """What the objectives of several streams gave, detached, as ``<stream>.<name>``."""
    return {
        f"{stream}.{key}": torch.as_tensor(value).detach()
        for stream, own in outputs.items()
        for key, value in own.items()
    }


def bad_losses(
    scalars: Mapping[str, Tensor],
    batches: Mapping[str, Batch],
    wanted: Callable[[float], bool] = lambda v: not isfinite(v),
) -> list[str]:
    """A line for each stream with a loss that is not finite (or that is ``wanted``), with the records it came from."""
    named = {key: value.item() for key, value in scalars.items() if "loss" in key}
    lines = []
    for name, batch in batches.items():
        losses = [f"{key} is {value}" for key, value in named.items() if key.startswith(f"{name}.") and wanted(value)]
        places = list(dict.fromkeys(batch.where))
        if losses:
            more = f", and {len(places) - _PLACES} more" if len(places) > _PLACES else ""
            lines.append(f"  {'; '.join(losses)}. Records: {', '.join(places[:_PLACES]) or 'unknown'}{more}")
    return lines
