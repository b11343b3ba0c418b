"""What a run asks of torch: operators, waits for a device, and the shapes of attention; counted on any machine."""

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_consecutive", "unique_dim", "equal")


class OperatorCounts(TorchDispatchMode):
    """Counts what is dispatched inside, backward passes included.

    Attributes:
        by_name: How often each operator ran, by its name (``aten.mm``).
        waits: What would wait for a device, by name: numbers that are read back, shapes that depend on numbers.
        attention_shapes: Shapes of query and key of every fused attention.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.attention_shapes: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()

    @property
    def total(self) -> int:
        """All operators."""
        return sum(self.by_name.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        """Count, then run."""
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        self.by_name[f"aten.{name}"] += 1
        by_bool = name == "index" and any(i is not None and i.dtype == torch.bool for i in args[1])
        sizeless = name == "repeat_interleave" and kwargs.get("output_size") is None
        if by_bool or sizeless or name in WAITS:
            self.waits[name] += 1
        if name.startswith(("_scaled_dot_product", "scaled_dot_product")) and not name.endswith("backward"):
            self.attention_shapes.add((tuple(args[0].shape), tuple(args[1].shape)))
        return func(*args, **kwargs)
