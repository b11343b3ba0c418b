"""Linear layers of a few rows, on a CPU: how a text is written word by word.

Every word reads all weights once, for the few texts under way: what counts is how fast memory can be read. The usual
product of matrices walks through large weights in strides and reaches a third of that. oneDNN has an order of its own
for them, in which they are read front to back. Putting them into it costs as much as two or three words save.

Shape letters: R rows, K inputs, O outputs.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

MOST_ROWS = 32
"""With more of them the usual product is about as fast."""

LEAST_SIZE = 2**20
"""Smaller weights are read as fast in their usual order."""


class PackedWeights(TorchFunctionMode):
    """Within ``with packed:``, products of at most ``MOST_ROWS`` rows with large weights read these in oneDNN's order.

    Parameters are reordered, in memory of their own, when they are first met, and not looked at again: to be used where
    they do not change, and only so long. What else is done within is as ever: layers on a GPU, in another precision
    than fp32, under autocast, with more rows, or whose gradient is asked for. Its length is how many were reordered.
    """

    def __init__(self) -> None:
        super().__init__()
        self._packed: dict[int, tuple[Tensor, Tensor]] = {}  # with the weight itself, so that its id stays its own
        self._usable = torch.backends.mkldnn.is_available()

    def __len__(self) -> int:
        return len(self._packed)

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is F.linear and self._usable and not kwargs and _has_few_rows(*args):
            return self._linear(*args)
        return func(*args, **(kwargs or {}))

    def _linear(self, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """``[..., K]`` -> ``[..., O]``."""
        if id(weight) not in self._packed:
            self._packed[id(weight)] = weight, torch.ops.mkldnn._reorder_linear_weight(weight.detach(), MOST_ROWS)
        packed = self._packed[id(weight)][1]
        return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, "none", [], "")


def _has_few_rows(rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> bool:
    return (
        isinstance(weight, nn.Parameter)
        and weight.numel() >= LEAST_SIZE
        and rows.device.type == "cpu"
        and rows.dtype == weight.dtype == torch.float32
        and 0 < rows.numel() <= MOST_ROWS * weight.shape[1]
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )
