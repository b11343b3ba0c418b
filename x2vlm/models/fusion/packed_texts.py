"""Packed texts: the tokens of the texts of several requests, planned in main memory.

Shape letters: R rows (texts that are read), S positions of a row, B texts that rows choose from, L their tokens, T
tokens of all rows, M positions, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.models.fusion.requests import FusionRequest, on_host
from x2vlm.models.layers.packing import Array, HostLayout, empty_slot, layout_at, positions_in_groups
from x2vlm.models.layers.shape_rounding import ShapeLadder, round_up
from x2vlm.models.outputs import TextStates


class PackedTexts:
    """The texts of some requests as rows of one size.

    Attributes:
        real: ``[R, S]`` bool, True at real tokens.
        embed_index: ``[R, S]``, index of each token's embedding among those of all distinct texts.
        masks: For each request the mask of its rows: ``[R', L]`` bool.

    Raises:
        ValueError: If two different batches of texts have one name.
    """

    def __init__(self, requests: Sequence[FusionRequest], chosen: Sequence[Array | None], ladder: ShapeLadder) -> None:
        self.requests, self.chosen = requests, chosen
        names = [request.text.source or number for number, request in enumerate(requests)]
        self._texts = {name: request.text for name, request in zip(names, requests, strict=True)}
        for name, request in zip(names, requests, strict=True):
            if request.text.embeds is not self._texts[name].embeds:
                raise ValueError(
                    f"two batches of texts that differ carry the name {name!r}. Give each its own `source`, or None."
                )
        self._host_masks = {name: mask_on_host(text) for name, text in self._texts.items()}
        sizes = [mask.size for mask in self._host_masks.values()]
        self._starts = dict(zip(self._texts, np.cumsum([0, *sizes]).tolist(), strict=False))
        self.masks = [_select_rows(self._host_masks[name], index) for name, index in zip(names, chosen, strict=True)]
        self.counts = [len(mask) for mask in self.masks]
        rows = round_up(sum(self.counts), ladder.groups)
        size = round_up(max(mask.shape[1] for mask in self.masks), ladder.lengths)
        self.real, self.embed_index = np.zeros((rows, size), bool), np.zeros((rows, size), np.int64)
        first_row = 0
        for name, mask, index in zip(names, self.masks, chosen, strict=True):
            rows_of_request, length = slice(first_row, first_row + len(mask)), mask.shape[1]
            index = np.arange(len(mask)) if index is None else index
            self.real[rows_of_request, :length] = mask
            self.embed_index[rows_of_request, :length] = (
                self._starts[name] + index[:, None] * length + np.arange(length)
            )
            first_row += len(mask)

    def embeds(self) -> Tensor:
        """``[.., D]``, concatenated embeddings of the distinct texts, padding included."""
        flat = [text.embeds.flatten(0, 1) for text in self._texts.values()]
        return flat[0] if len(flat) == 1 else torch.cat(flat)

    @property
    def is_bidirectional(self) -> bool:
        """Whether every token may attend to all of its text."""
        return all(text.mask.dim() == 2 for text in self._texts.values())

    def repeats_texts(self) -> bool:
        """Whether several rows read the same text."""
        return self.is_bidirectional and int(self.real.sum()) > sum(
            int(mask.sum()) for mask in self._host_masks.values()
        )

    def distinct(self, ladder: ShapeLadder) -> tuple[HostLayout, Array, Array]:
        """Tokens of the distinct texts: their layout, their embeddings, and the token of each embedding."""
        rows, positions, numbers, first_row = [], [], [], 0
        for name, mask in self._host_masks.items():
            row, position = np.nonzero(mask)
            numbers.append(self._starts[name] + np.flatnonzero(mask))
            rows, positions, first_row = [*rows, first_row + row], [*positions, position], first_row + len(mask)
        size = max(mask.shape[1] for mask in self._host_masks.values())
        layout = layout_at(np.concatenate(rows), np.concatenate(positions), first_row, size, ladder)
        number = np.concatenate(numbers)
        token_index = np.zeros(sum(mask.size for mask in self._host_masks.values()), np.int64)
        token_index[number] = np.arange(len(number))
        return layout, np.concatenate([number, np.repeat(number[:1], len(layout.slot) - len(number))]), token_index

    def arrays(self) -> dict[str, Array]:
        """The arrays that :meth:`attn_mask` needs on the device."""
        if self.is_bidirectional:
            return {}
        chosen = {f"texts{n}": index for n, index in enumerate(self.chosen) if index is not None}
        return {"real": self.real[: sum(self.counts)]} | chosen

    def attn_mask(self, sent: Mapping[str, Tensor]) -> Tensor | None:
        """``[R, S, S]`` bool; None where every token may attend to all of its text."""
        if self.is_bidirectional:
            return None
        masks = []
        for number, (request, real) in enumerate(zip(self.requests, sent["real"].split(self.counts), strict=True)):
            mask, size = request.text.mask, real.shape[1]
            if mask.dim() == 2:
                masks.append(real[:, None].expand(-1, size, -1))
                continue
            mask = mask if f"texts{number}" not in sent else mask[sent[f"texts{number}"]]
            masks.append(F.pad(mask, (0, size - mask.shape[2], 0, size - mask.shape[1]), value=False))
        return torch.cat(masks)

    def requested_positions(self) -> Array:
        """``row * S + position`` of every requested state, request by request.

        Raises:
            ValueError: If one is padding.
        """
        size, first, positions = self.real.shape[1], 0, []
        for request, count in zip(self.requests, self.counts, strict=True):
            starts = (first + np.arange(count)) * size
            if request.at is None:
                positions.append(np.flatnonzero(self.real[first : first + count]) + first * size)
            elif isinstance(request.at, int):
                positions.append(starts + request.at)
            else:
                at = on_host(request.at)
                positions.append((starts[:, None] + at)[at >= 0])
            first += count
        requested = np.concatenate(positions)
        if not self.real.ravel()[requested].all():
            raise ValueError(
                "a state is requested at a position that is padding. Request states of real tokens (text.mask) only."
            )
        return requested


@dataclass(frozen=True)
class HostTokens:
    """A selection of tokens: first those of rows with a context, then those of plain texts, each padded to a rung.

    Attributes:
        layout: Their layout, one group for each row.
        position: ``[T]``, ``row * S + position`` of each; any number for padding tokens.
        order: ``[T]``, index of each in the selection; -1 for padding tokens.
        with_context: Number of tokens with a context, padded; they come first.
        ranges: For each request the slice of its tokens.
    """

    layout: HostLayout
    position: Array
    order: Array
    with_context: int
    ranges: list[slice]

    @property
    def real(self) -> Array:
        """``[T]`` bool, False for padding tokens."""
        return self.order >= 0


def all_tokens(packed: PackedTexts, rows_with_context: int, ladder: ShapeLadder) -> HostTokens:
    """All real tokens."""
    position, size = np.flatnonzero(packed.real), packed.real.shape[1]
    return _tokens(packed, position, position % size, size, rows_with_context, ladder)


def requested_tokens(packed: PackedTexts, rows_with_context: int, ladder: ShapeLadder) -> HostTokens | None:
    """The tokens whose states are requested; None: all."""
    if all(request.at is None for request in packed.requests):
        return None
    position = packed.requested_positions()
    in_row, counts = positions_in_groups(position // packed.real.shape[1], len(packed.real))
    size = round_up(int(counts.max(initial=1)), ladder.queries)
    return _tokens(packed, position, in_row, size, rows_with_context, ladder)


def _tokens(
    packed: PackedTexts, position: Array, in_row: Array, size: int, rows_with_context: int, ladder: ShapeLadder
) -> HostTokens:
    rows = position // packed.real.shape[1]
    num_with_context = int(np.searchsorted(rows, rows_with_context))  # so many tokens have a context
    padded_counts = round_up(num_with_context, ladder.tokens), round_up(len(rows) - num_with_context, ladder.tokens)
    order = np.full(sum(padded_counts), -1, np.int64)
    order[:num_with_context] = np.arange(num_with_context)
    order[padded_counts[0] : padded_counts[0] + len(rows) - num_with_context] = np.arange(num_with_context, len(rows))
    real = order >= 0
    if len(order) > len(rows) == len(packed.real) * size:
        size += 1  # one slot stays empty, for padding tokens
    slot = np.zeros(len(order), np.int64)
    slot[real] = rows * size + in_row
    if not real.all():
        slot[~real] = empty_slot(slot[real], len(packed.real) * size)
    first = np.searchsorted(rows, np.cumsum([0, *packed.counts]))
    shift = np.where(first[:-1] < num_with_context, 0, padded_counts[0] - num_with_context)
    return HostTokens(
        HostLayout(slot, len(packed.real), size, len(rows), real),
        position[np.maximum(order, 0)],
        order,
        padded_counts[0],
        [slice(int(a + s), int(b + s)) for a, b, s in zip(first[:-1], first[1:], shift, strict=True)],
    )


def mask_on_host(text: TextStates) -> Array:
    """``[B, L]`` bool, True at real tokens; all True for masks ``[B, L, L]``, which have no padding."""
    if text.mask.dim() == 3:
        return np.ones(text.embeds.shape[:2], bool)
    return text.mask.cpu().numpy() if text.host_mask is None else text.host_mask


def indices_on_host(requests: Sequence[FusionRequest]) -> tuple[list[Array | None], list[Array | None]]:
    """Indices of texts and of contexts of the rows of requests; those on a device are fetched at once."""
    indices = [index for request in requests for index in (request.texts, request.contexts)]
    on_device = [isinstance(index, Tensor) and index.device.type != "cpu" for index in indices]
    fetched = iter(fetch([index for index, is_on_device in zip(indices, on_device, strict=True) if is_on_device]))
    arrays = [
        next(fetched) if is_on_device else on_host(index)
        for index, is_on_device in zip(indices, on_device, strict=True)
    ]
    return arrays[::2], arrays[1::2]


def fetch(tensors: Sequence[Tensor]) -> list[Array]:
    """Copy tensors of a device to main memory at once: the one wait of a training step."""
    if not tensors:
        return []
    return np.split(torch.cat(list(tensors)).cpu().numpy(), np.cumsum([len(one) for one in tensors])[:-1])


def _select_rows(mask: Array, index: Array | None) -> Array:
    return mask if index is None else mask[index]
