"""Distributed model wrappers (DDP, FSDP): the model inside, and when gradients are synchronised."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside its distributed wrapper; the model itself where it has none."""
    return model.module if is_model_wrapper(model) else model


@contextmanager
def gradient_sync(model: nn.Module, enabled: bool) -> Iterator[None]:
    """Synchronise gradients over processes in the backward passes inside, or accumulate them locally (``no_sync``).

    Does nothing for a model without a wrapper.
    """
    with nullcontext() if enabled or not hasattr(model, "no_sync") else model.no_sync():
        yield
