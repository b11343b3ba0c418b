"""Packed tokens: linear layers compute real tokens only, attention computes them padded in groups.

Layouts are planned on the CPU, in NumPy, and copied to the device at once: nothing is read back from the device.

Shape letters: T tokens, G groups (texts, or the images that texts attend to), S slots of a group, D width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from x2vlm.models.layers.shape_rounding import EXACT, ShapeLadder, round_up

Array = np.ndarray


@dataclass(frozen=True)
class HostLayout:
    """A layout in main memory, before it is sent; see :class:`Layout`.

    Attributes:
        slot: ``[T]``, ``group * size + position in the group``. Padding tokens share a slot that is empty.
        groups: G.
        size: S.
        count: Number of real tokens; they come first unless ``real`` says otherwise.
        real: ``[T]`` bool, True at real tokens; None: the first ``count``.
    """

    slot: Array
    groups: int
    size: int
    count: int
    real: Array | None = None

    @property
    def is_full(self) -> bool:
        """Whether tokens fill all groups, in order, so that packed and padded order are the same."""
        slots = self.groups * self.size
        return self.count == len(self.slot) == slots and bool((self.slot == np.arange(slots)).all())

    def arrays(self) -> dict[str, Array]:
        """The arrays to copy to the device; none for a full layout."""
        if self.is_full:
            return {}
        real = np.arange(len(self.slot)) < self.count if self.real is None else self.real
        numbers = np.flatnonzero(real)
        token, filled = np.zeros(self.groups * self.size, np.int64), np.zeros(self.groups * self.size, bool)
        token[self.slot[numbers]], filled[self.slot[numbers]] = numbers, True
        filled = filled.reshape(self.groups, self.size)
        filled[~filled.any(axis=1), 0] = True  # attention of a group without tokens must stay finite
        return {"slot": self.slot, "token": token, "filled": filled}

    def layout(self, sent: Mapping[str, Tensor]) -> "Layout":
        """The layout on the device, from the copied arrays."""
        return Layout(self.groups, self.size, **sent)

    def to(self, device: torch.device) -> "Layout":
        """The layout on a device."""
        return self.layout(to_device(self.arrays(), device))


@dataclass(frozen=True)
class Layout:
    """Slots of ``T`` packed tokens in padded groups of one size.

    Attributes:
        groups: G.
        size: S.
        slot: ``[T]`` long, ``group * size + position in the group``; None where tokens fill all groups in order.
        token: ``[G * S]`` long, the token in each slot; any token in empty slots.
        filled: ``[G, S]`` bool, True at slots with a token (and at one slot of every empty group).
    """

    groups: int
    size: int
    slot: Tensor | None = None
    token: Tensor | None = None
    filled: Tensor | None = None

    @property
    def is_full(self) -> bool:
        """Whether packed and padded order are the same."""
        return self.slot is None

    def pad(self, tokens: Tensor) -> Tensor:
        """``[T, ...]`` -> ``[G, S, ...]``; empty slots hold some other token, without gradient."""
        if not len(tokens):
            return tokens.new_zeros(self.groups, self.size, *tokens.shape[1:])
        if self.slot is not None:
            tokens = _Pad.apply(tokens, self.token, self.slot)
        return tokens.view(self.groups, self.size, *tokens.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """``[G, S, ...]`` -> ``[T, ...]``."""
        tokens = padded.flatten(0, 1)
        return tokens if self.slot is None else _Pack.apply(tokens, self.slot)

    def zero_padded(self, tokens: Tensor) -> Tensor:
        """``[T, ...]`` -> ``[G, S, ...]``, 0 in empty slots."""
        padded = self.pad(tokens)
        if self.filled is None:
            return padded
        return padded.masked_fill(~self.filled.view(*self.filled.shape, *[1] * (padded.dim() - 2)), 0.0)


class _Pad(torch.autograd.Function):
    """Gather tokens by slot; a token's gradient comes from its own slot only."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, token: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return tokens.index_select(0, token)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.index_select(0, *ctx.saved_tensors), None, None


class _Pack(torch.autograd.Function):
    """Gather slots; the others get no gradient. Unlike the backward of index_select it does not accumulate."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        ctx.places = len(padded)
        return padded.index_select(0, slot)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        room = grad.new_zeros(ctx.places, *grad.shape[1:])
        return room.index_copy_(0, *ctx.saved_tensors, grad), None


def layout_of_mask(mask: Array, ladder: ShapeLadder = EXACT) -> HostLayout:
    """The layout of the tokens of a ``[G, S]`` bool mask; sizes rounded up to the ladder."""
    rows, positions = np.nonzero(mask)
    return layout_at(rows, positions, *mask.shape, ladder)


def layout_of_groups(group: Array, groups: int, ladder: ShapeLadder = EXACT) -> HostLayout:
    """The layout of tokens by group, in their order.

    Args:
        group: ``[T]``, the group of each token.
        groups: G; a group may be empty.
        ladder: Rungs that sizes are rounded up to.
    """
    position, counts = positions_in_groups(group, groups)
    return layout_at(group, position, groups, int(counts.max(initial=1)), ladder)


def layout_at(group: Array, position: Array, groups: int, size: int, ladder: ShapeLadder = EXACT) -> HostLayout:
    """The layout of tokens by group and position; padding tokens up to a rung of the ladder follow."""
    count, total = len(group), round_up(len(group), ladder.tokens)
    groups, size = round_up(groups, ladder.groups), round_up(size, ladder.lengths)
    if total > count == groups * size:  # no slot is empty
        size = round_up(size + 1, ladder.lengths)
    slot = np.full(total, -1, np.int64)
    slot[:count] = group * size + position
    slot[count:] = empty_slot(slot[:count], groups * size) if total > count else 0
    return HostLayout(slot, groups, size, count)


def empty_slot(used: Array, count: int) -> int:
    """The first slot that is not used."""
    free = np.ones(count, bool)
    free[used] = False
    return int(free.argmax())


def positions_in_groups(group: Array, groups: int) -> tuple[Array, Array]:
    """Position of each of ``T`` tokens within its group, ``[T]`` from 0, and the size of each group, ``[G]``."""
    counts = np.bincount(group, minlength=groups)
    order = np.argsort(group, kind="stable")
    position = np.empty_like(order)
    position[order] = np.arange(len(group)) - (np.cumsum(counts) - counts)[group[order]]
    return position, counts


def to_device(arrays: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Copy integer and bool arrays to a device, all at once and without waiting; integers become long."""
    if device.type == "cpu":
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    if not arrays:
        return {}
    flat = torch.from_numpy(np.concatenate([array.ravel().astype(np.int64) for array in arrays.values()]))
    flat = flat.pin_memory() if torch.cuda.is_available() else flat
    parts = flat.to(device, non_blocking=True).split([array.size for array in arrays.values()])
    tensors = (part.view(array.shape) for part, array in zip(parts, arrays.values(), strict=True))
    return {
        name: tensor.bool() if arrays[name].dtype == bool else tensor
        for name, tensor in zip(arrays, tensors, strict=True)
    }
