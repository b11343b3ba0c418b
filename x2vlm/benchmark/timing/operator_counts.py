"""Counts of what a run dispatches: operators, shapes of attention and products, reads that would wait for a GPU."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Shapes = tuple[tuple[int, ...], tuple[int, ...]]

# Operators whose result, or the size of it, is read by the CPU, by the name they are counted under.
_WAITS = {
    "aten::_local_scalar_dense": "_local_scalar_dense",
    "aten::nonzero": "nonzero",
    "aten::equal": "equal",
    "aten::masked_select": "masked_select",
    "aten::_unique": "unique",
    "aten::_unique2": "unique",
    "aten::unique_dim": "unique",
    "aten::unique_consecutive": "unique",
    "aten::unique_dim_consecutive": "unique",
}
_ATTENTION = (
    "aten::scaled_dot_product_attention",
    "aten::_flash_attention_forward",
    "aten::_efficient_attention_forward",
    "aten::_cudnn_attention_forward",
    "torch_attn::_varlen_attn",
)
_PRODUCTS = {"aten::mm": 0, "aten::bmm": 0, "aten::addmm": 1, "aten::baddbmm": 1}  # and where the two factors stand


class OperatorCounts(TorchDispatchMode):
    """Counts what runs inside ``with OperatorCounts() as counts``, the backward pass included.

    Tensors may be on any device, also fake ones (``FakeTensorMode``); on a CPU nothing waits, but the same operators
    are dispatched as on a GPU, so they can be counted there. Compound operators are counted as their parts, under
    ``inference_mode`` too. Not seen: compiled code, attention that is written out as products (``eager``, and torch's
    own ``math`` kernel; their products are counted), and ``tolist()`` or ``numpy()`` of a tensor in main memory.

    Attributes:
        total: Operators dispatched.
        by_name: How often each, by names like ``aten::mm``.
        waits: Reads for which the CPU would wait for a GPU: ``_local_scalar_dense`` (``item()``, ``bool()``),
            ``nonzero``, ``boolean_index`` (reading and writing), ``unique``, ``equal``, ``masked_select``,
            ``repeat_interleave`` without ``output_size``, ``to_cpu`` (copies from a device to main memory). Those that
            never happened are left out.
        attention_shapes: Distinct shapes of queries and keys, forward.
        product_shapes: Distinct shapes of the two factors of matrix products, forward and backward.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_name: Counter[str] = Counter()
        self.waits: Counter[str] = Counter()
        self.attention_shapes: set[Shapes] = set()
        self.product_shapes: set[Shapes] = set()

    @property
    def total(self) -> int:
        """Operators dispatched."""
        return self.by_name.total()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Count one operator, or the parts of a compound one, and run it."""
        kwargs = dict(kwargs or {})
        if func.namespace == "prim":  # a question about a tensor (its device), no operator
            return func(*args, **kwargs)
        with self:  # compound operators reach a mode whole where autograd is off
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        self._count(func._schema.name, args, kwargs)
        return func(*args, **kwargs)

    def _count(self, name: str, args: tuple, kwargs: dict[str, Any]) -> None:
        self.by_name[name] += 1
        if wait := _wait(name, args, kwargs):
            self.waits[wait] += 1
        if name in _ATTENTION or (name.startswith("aten::_scaled_dot_product_") and not name.endswith("_backward")):
            self.attention_shapes.add(_shapes(args[0], args[1]))
        elif name in _PRODUCTS:
            first = _PRODUCTS[name]
            self.product_shapes.add(_shapes(args[first], args[first + 1]))


def operator_counts(run: Callable[[], Any]) -> OperatorCounts:
    """Count what one run dispatches."""
    with OperatorCounts() as counts:
        run()
    return counts


def _wait(name: str, args: tuple, kwargs: dict[str, Any]) -> str | None:
    """The name under which a wait is counted; None where nobody waits."""
    if name in _WAITS:
        return _WAITS[name]
    if name == "aten::repeat_interleave":
        return None if kwargs.get("output_size") is not None else "repeat_interleave"
    if name in ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index"):
        return "boolean_index" if any(_is_mask(index) for index in args[1]) and not _fills(args) else None
    return "to_cpu" if _copies_to_cpu(name, args, kwargs) else None


def _is_mask(index: Tensor | None) -> bool:
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _fills(args: tuple) -> bool:
    """Whether a write puts one number from main memory everywhere under a mask, for which torch reads no mask."""
    return len(args) > 2 and args[2].numel() == 1 and args[2].device.type == "cpu"


def _copies_to_cpu(name: str, args: tuple, kwargs: dict[str, Any]) -> bool:
    if name == "aten::_to_copy":
        target, source = kwargs.get("device"), args[0].device
        waits = not kwargs.get("non_blocking")
    elif name == "aten::copy_":
        target, source = args[0].device, args[1].device
        waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    else:
        return False
    return waits and target is not None and torch.device(target).type == "cpu" and source.type != "cpu"


def _shapes(first: Tensor, second: Tensor) -> Shapes:
    return tuple(first.shape), tuple(second.shape)
