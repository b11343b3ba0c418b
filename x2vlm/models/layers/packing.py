"""Tokens without padding: linear layers see real tokens only, attention sees them in groups.

Shape letters: T tokens, G groups (texts, or the pictures that texts ask), S places of a group, D width.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Layout:
    """Where each of ``T`` tokens stands when all are put in groups of one size.

    Attributes:
        slot: ``[T]`` long, ``group * size + place in the group``.
        groups: G.
        size: S, of the largest group.
    """

    slot: Tensor
    groups: int
    size: int

    @classmethod
    def of(cls, group: Tensor, groups: int) -> "Layout":
        """Tokens of a group stand in the order in which they come.

        Args:
            group: ``[T]`` long, the group of each token.
            groups: G; a group may be empty.
        """
        place, counts = places_in_groups(group, groups)
        size = int(counts.max()) if len(group) else 1
        return cls(group * size + place, groups, size)

    @classmethod
    def of_mask(cls, mask: Tensor) -> "Layout":
        """The tokens that a ``[G, S]`` bool mask shows, where they stand."""
        return cls(mask.flatten().nonzero().squeeze(1), *mask.shape)

    @cached_property
    def is_full(self) -> bool:
        """Whether tokens fill all groups, in order, so that nothing has to be moved."""
        places = self.groups * self.size
        return len(self.slot) == places and bool((self.slot == torch.arange(places, device=self.slot.device)).all())

    @cached_property
    def filled(self) -> Tensor:
        """``[G, S]`` bool, the places that a token stands in."""
        places = torch.zeros(self.groups * self.size, dtype=torch.bool, device=self.slot.device)
        return places.index_fill(0, self.slot, True).view(self.groups, self.size)

    def pad(self, tokens: Tensor, empty: int = 0) -> Tensor:
        """``[T, ...]`` -> ``[G, S, ...]``, ``empty`` (0 or 1) where no token stands."""
        if not self.is_full:
            tokens = _Put.apply(tokens, self.slot, self.groups * self.size, empty)
        return tokens.view(self.groups, self.size, *tokens.shape[1:])

    def pack(self, padded: Tensor) -> Tensor:
        """``[G, S, ...]`` -> ``[T, ...]``."""
        tokens = padded.flatten(0, 1)
        return tokens if self.is_full else tokens.index_select(0, self.slot)


class _Put(torch.autograd.Function):
    """``tokens`` at the slots of a room of ``places``; torch's own keeps the tokens for their gradient, for nothing."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, slot: Tensor, places: int, empty: int) -> Tensor:
        ctx.save_for_backward(slot)
        shape = (places, *tokens.shape[1:])
        room = tokens.new_ones(shape) if empty else tokens.new_zeros(shape)
        return room.index_copy_(0, slot, tokens)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (slot,) = ctx.saved_tensors
        return grad.index_select(0, slot), None, None, None


def places_in_groups(group: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """The place of each of ``T`` tokens among those of its group, ``[T]`` from 0, and how many each has, ``[G]``."""
    counts = torch.bincount(group, minlength=groups)
    order = group.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    place = torch.empty_like(group)
    place[order] = torch.arange(len(group), device=group.device) - starts[group[order]]
    return place, counts
