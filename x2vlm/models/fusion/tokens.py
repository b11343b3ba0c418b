"""The tokens of many texts in main memory: which stand where, and which are wanted in the end.

Shape letters: R rows (texts that are read), S places of a row, B texts that rows choose from, L their tokens, T tokens
of all rows, M positions, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.models.fusion.requests import FusionRequest, on_host
from x2vlm.models.layers.packing import Array, HostLayout, empty_slot, layout_at, places_in_groups
from x2vlm.models.layers.shape_rounding import ShapeLadder, round_up
from x2vlm.models.outputs import TextStates


class PackedTexts:
    """The texts of some requests as rows of one size.

    Attributes:
        real: ``[R, S]`` bool, where tokens stand.
        number: ``[R, S]``, where their embeddings stand among those of all distinct texts.
        masks: For each request, the real tokens of its rows: ``[R', L]`` bool.

    Raises:
        ValueError: If two batches of texts that differ carry one name.
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
        self._shown = {name: mask_on_host(text) for name, text in self._texts.items()}
        sizes = [mask.size for mask in self._shown.values()]
        self._starts = dict(zip(self._texts, np.cumsum([0, *sizes]).tolist(), strict=False))
        self.masks = [_chosen(self._shown[name], index) for name, index in zip(names, chosen, strict=True)]
        self.counts = [len(mask) for mask in self.masks]
        rows = round_up(sum(self.counts), ladder.groups)
        size = round_up(max(mask.shape[1] for mask in self.masks), ladder.lengths)
        self.real, self.number = np.zeros((rows, size), bool), np.zeros((rows, size), np.int64)
        first = 0
        for name, mask, index in zip(names, self.masks, chosen, strict=True):
            own, length = slice(first, first + len(mask)), mask.shape[1]
            index = np.arange(len(mask)) if index is None else index
            self.real[own, :length] = mask
            self.number[own, :length] = self._starts[name] + index[:, None] * length + np.arange(length)
            first += len(mask)

    def embeds(self) -> Tensor:
        """``[.., D]``, embeddings of the distinct texts one behind the other, padding included."""
        flat = [text.embeds.flatten(0, 1) for text in self._texts.values()]
        return flat[0] if len(flat) == 1 else torch.cat(flat)

    @property
    def is_plain(self) -> bool:
        """Whether every token may look at all of its text."""
        return all(text.mask.dim() == 2 for text in self._texts.values())

    def repeats(self) -> bool:
        """Whether some texts are read by several rows."""
        return self.is_plain and int(self.real.sum()) > sum(int(mask.sum()) for mask in self._shown.values())

    def distinct(self, ladder: ShapeLadder) -> tuple[HostLayout, Array, Array]:
        """Tokens of the distinct texts: where they stand, their embeddings, and which of them each embedding is."""
        rows, places, numbers, first = [], [], [], 0
        for name, mask in self._shown.items():
            row, place = np.nonzero(mask)
            numbers.append(self._starts[name] + np.flatnonzero(mask))
            rows, places, first = [*rows, first + row], [*places, place], first + len(mask)
        size = max(mask.shape[1] for mask in self._shown.values())
        layout = layout_at(np.concatenate(rows), np.concatenate(places), first, size, ladder)
        number = np.concatenate(numbers)
        which = np.zeros(sum(mask.size for mask in self._shown.values()), np.int64)
        which[number] = np.arange(len(number))
        return layout, np.concatenate([number, np.repeat(number[:1], len(layout.slot) - len(number))]), which

    def arrays(self) -> dict[str, Array]:
        """What has to be sent for :meth:`where_tokens_look`."""
        if self.is_plain:
            return {}
        chosen = {f"texts{n}": index for n, index in enumerate(self.chosen) if index is not None}
        return {"real": self.real[: sum(self.counts)]} | chosen

    def where_tokens_look(self, sent: Mapping[str, Tensor]) -> Tensor | None:
        """``[R, S, S]`` bool; None where every token looks at all of its text."""
        if self.is_plain:
            return None
        looks = []
        for number, (request, real) in enumerate(zip(self.requests, sent["real"].split(self.counts), strict=True)):
            mask, size = request.text.mask, real.shape[1]
            if mask.dim() == 2:
                looks.append(real[:, None].expand(-1, size, -1))
                continue
            mask = mask if f"texts{number}" not in sent else mask[sent[f"texts{number}"]]
            looks.append(F.pad(mask, (0, size - mask.shape[2], 0, size - mask.shape[1]), value=False))
        return torch.cat(looks)

    def wanted_places(self) -> Array:
        """``row * S + position`` of every token whose state is wanted, request by request.

        Raises:
            ValueError: If one is padding.
        """
        size, first, places = self.real.shape[1], 0, []
        for request, count in zip(self.requests, self.counts, strict=True):
            starts = (first + np.arange(count)) * size
            if request.at is None:
                places.append(np.flatnonzero(self.real[first : first + count]) + first * size)
            elif isinstance(request.at, int):
                places.append(starts + request.at)
            else:
                at = on_host(request.at)
                places.append((starts[:, None] + at)[at >= 0])
            first += count
        wanted = np.concatenate(places)
        if not self.real.ravel()[wanted].all():
            raise ValueError("a state is asked for at a position that is padding. Ask at real tokens (text.mask) only.")
        return wanted


@dataclass(frozen=True)
class HostTokens:
    """Some tokens of rows: first those of rows with a context, then those of plain texts, each filled up to a rung.

    Attributes:
        layout: Where they stand, row by row.
        place: ``[T]``, ``row * S + position`` of each; any for those that fill up.
        order: ``[T]``, which of the given ones each is; -1 for those that fill up.
        with_context: So many come first, filled up.
        ranges: For each request, which of them are its own.
    """

    layout: HostLayout
    place: Array
    order: Array
    with_context: int
    ranges: list[slice]

    @property
    def real(self) -> Array:
        """``[T]`` bool, those that do not only fill up."""
        return self.order >= 0


def every_token(packed: PackedTexts, rows_with_context: int, ladder: ShapeLadder) -> HostTokens:
    """All real tokens."""
    place, size = np.flatnonzero(packed.real), packed.real.shape[1]
    return _tokens(packed, place, place % size, size, rows_with_context, ladder)


def wanted_tokens(packed: PackedTexts, rows_with_context: int, ladder: ShapeLadder) -> HostTokens | None:
    """Those whose states are wanted; None: all."""
    if all(request.at is None for request in packed.requests):
        return None
    place = packed.wanted_places()
    in_row, counts = places_in_groups(place // packed.real.shape[1], len(packed.real))
    size = round_up(int(counts.max(initial=1)), ladder.queries)
    return _tokens(packed, place, in_row, size, rows_with_context, ladder)


def _tokens(
    packed: PackedTexts, place: Array, in_row: Array, size: int, rows_with_context: int, ladder: ShapeLadder
) -> HostTokens:
    rows = place // packed.real.shape[1]
    behind = int(np.searchsorted(rows, rows_with_context))  # so many tokens have a context
    fronts = round_up(behind, ladder.tokens), round_up(len(rows) - behind, ladder.tokens)
    order = np.full(sum(fronts), -1, np.int64)
    order[:behind] = np.arange(behind)
    order[fronts[0] : fronts[0] + len(rows) - behind] = np.arange(behind, len(rows))
    real = order >= 0
    if len(order) > len(rows) == len(packed.real) * size:
        size += 1  # one place stays empty, for what fills up
    slot = np.zeros(len(order), np.int64)
    slot[real] = rows * size + in_row
    if not real.all():
        slot[~real] = empty_slot(slot[real], len(packed.real) * size)
    first = np.searchsorted(rows, np.cumsum([0, *packed.counts]))
    shift = np.where(first[:-1] < behind, 0, fronts[0] - behind)
    return HostTokens(
        HostLayout(slot, len(packed.real), size, len(rows), real),
        place[np.maximum(order, 0)],
        order,
        fronts[0],
        [slice(int(a + s), int(b + s)) for a, b, s in zip(first[:-1], first[1:], shift, strict=True)],
    )


def mask_on_host(text: TextStates) -> Array:
    """``[B, L]`` bool, real tokens; all where each token may look elsewhere, as it is not said then which are real."""
    if text.mask.dim() == 3:
        return np.ones(text.embeds.shape[:2], bool)
    return text.mask.cpu().numpy() if text.host_mask is None else text.host_mask


def indices_on_host(requests: Sequence[FusionRequest]) -> tuple[list[Array | None], list[Array | None]]:
    """Which texts and which contexts the rows of requests choose; all that lie on a device are fetched at once."""
    given = [index for request in requests for index in (request.texts, request.contexts)]
    there = [isinstance(index, Tensor) and index.device.type != "cpu" for index in given]
    fetched = iter(fetch([index for index, is_there in zip(given, there, strict=True) if is_there]))
    arrays = [next(fetched) if is_there else on_host(index) for index, is_there in zip(given, there, strict=True)]
    return arrays[::2], arrays[1::2]


def fetch(tensors: Sequence[Tensor]) -> list[Array]:
    """Tensors of a device in main memory, in one copy: what a training step waits for, once."""
    if not tensors:
        return []
    return np.split(torch.cat(list(tensors)).cpu().numpy(), np.cumsum([len(one) for one in tensors])[:-1])


def _chosen(mask: Array, index: Array | None) -> Array:
    return mask if index is None else mask[index]
