"""Tokens without padding: linear layers see real tokens only, attention sees them in groups.

Where tokens stand is planned on the CPU, in NumPy, and sent to the device in one copy: the device is never asked for a
number.

Shape letters: T tokens, G groups (texts, or the images that texts look at), S places of a group, D width.
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
        slot: ``[T]``, ``group * size + place in the group``. Tokens that only fill up share a slot that is empty.
        groups: G.
        size: S.
        count: Tokens that are real; they come first unless ``real`` says otherwise.
        real: ``[T]`` bool, which tokens are; None: the first ``count``.
    """

    slot: Array
    groups: int
    size: int
    count: int
    real: Array | None = None

    @property
    def is_full(self) -> bool:
        """Whether tokens fill all groups, in order, so that nothing has to be moved."""
        places = self.groups * self.size
        return self.count == len(self.slot) == places and bool((self.slot == np.arange(places)).all())

    def arrays(self) -> dict[str, Array]:
        """What has to be sent; nothing for a full layout."""
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
        """The layout of what was sent."""
        return Layout(self.groups, self.size, **sent)

    def to(self, device: torch.device) -> "Layout":
        """The layout on a device."""
        return self.layout(send(self.arrays(), device))


@dataclass(frozen=True)
class Layout:
    """Where each of ``T`` tokens stands when all are put in groups of one size.

    Attributes:
        groups: G.
        size: S.
        slot: ``[T]`` long, ``group * size + place in the group``; None where tokens fill all groups in order.
        token: ``[G * S]`` long, the token at each place; any token at places where none stands.
        filled: ``[G, S]`` bool, the places that a token stands in (and one place of every empty group).
    """

    groups: int
    size: int
    slot: Tensor | None = None
    token: Tensor | None = None
    filled: Tensor | None = None

    @property
    def is_full(self) -> bool:
        """Whether nothing has to be moved."""
        return self.slot is None

    def pad(self, tokens: Tensor) -> Tensor:
        """``[T, ...]`` -> ``[G, S, ...]``; some other token (without gradient) where none stands."""
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
        """``[T, ...]`` -> ``[G, S, ...]``, 0 where no token stands."""
        padded = self.pad(tokens)
        if self.filled is None:
            return padded
        return padded.masked_fill(~self.filled.view(*self.filled.shape, *[1] * (padded.dim() - 2)), 0.0)


class _Pad(torch.autograd.Function):
    """Tokens at their places; only the place that is a token's own sends it a gradient."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, token: Tensor, slot: Tensor) -> Tensor:
        ctx.save_for_backward(slot)
        return tokens.index_select(0, token)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return grad.index_select(0, *ctx.saved_tensors), None, None


class _Pack(torch.autograd.Function):
    """The tokens at some places; the others get no gradient. Unlike index_select's own it adds nothing up."""

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
    """The tokens that a ``[G, S]`` bool mask shows, where they stand; sizes rounded up to the ladder."""
    rows, places = np.nonzero(mask)
    return layout_at(rows, places, *mask.shape, ladder)


def layout_of_groups(group: Array, groups: int, ladder: ShapeLadder = EXACT) -> HostLayout:
    """Tokens of a group stand in the order in which they come.

    Args:
        group: ``[T]``, the group of each token.
        groups: G; a group may be empty.
        ladder: To which sizes are rounded up.
    """
    place, counts = places_in_groups(group, groups)
    return layout_at(group, place, groups, int(counts.max(initial=1)), ladder)


def layout_at(group: Array, place: Array, groups: int, size: int, ladder: ShapeLadder = EXACT) -> HostLayout:
    """Tokens at given places of given groups; tokens that fill up to a rung of the ladder come behind."""
    count, total = len(group), round_up(len(group), ladder.tokens)
    groups, size = round_up(groups, ladder.groups), round_up(size, ladder.lengths)
    if total > count == groups * size:  # no place is empty
        size = round_up(size + 1, ladder.lengths)
    slot = np.full(total, -1, np.int64)
    slot[:count] = group * size + place
    slot[count:] = empty_slot(slot[:count], groups * size) if total > count else 0
    return HostLayout(slot, groups, size, count)


def empty_slot(taken: Array, places: int) -> int:
    """A place that is none of the taken ones."""
    free = np.ones(places, bool)
    free[taken] = False
    return int(free.argmax())


def places_in_groups(group: Array, groups: int) -> tuple[Array, Array]:
    """The place of each of ``T`` tokens among those of its group, ``[T]`` from 0, and how many each has, ``[G]``."""
    counts = np.bincount(group, minlength=groups)
    order = np.argsort(group, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(group)) - (np.cumsum(counts) - counts)[group[order]]
    return place, counts


def send(arrays: Mapping[str, Array], device: torch.device) -> dict[str, Tensor]:
    """Integer and bool arrays as tensors on a device, in one copy that nobody waits for; integers become long."""
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
