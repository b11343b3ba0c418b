"""The check that scores and features are numbers."""

import torch
from torch import Tensor

from x2vlm.part_errors import ConfigError


def check_not_nan(values: Tensor, name: str = "scores", allow_infinity: bool = True) -> None:
    """Refuse a tensor that contains NaN.

    Args:
        values: The tensor.
        name: What it holds, for the message.
        allow_infinity: False refuses infinite values too.

    Raises:
        ConfigError: If a value is refused.
    """
    if torch.isnan(values).any() or not (allow_infinity or torch.isfinite(values).all()):
        raise ConfigError(
            f"some {name} are not a number (NaN): the model has diverged, or its weights were not loaded."
        )
