"""The plan of a fusion pass: packed tokens of several requests, with masks and indices for every layer.

A :class:`FusionPlan` concatenates the real tokens of several requests, so that every layer runs once for all of them.
It is computed on the CPU, in NumPy, from tensors in main memory, and copied to the device at once.

Shape letters: R rows, S positions of a row, T tokens of all rows, W requested tokens, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from x2vlm.models.fusion.key_value_sources import (
    CrossAttentionInputs,
    HostCrossAttention,
    HostKeyValueSource,
    KeyValueSource,
    group_queries,
)
from x2vlm.models.fusion.packed_texts import HostTokens, PackedTexts, all_tokens, indices_on_host, requested_tokens
from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.layers.packing import Array, Layout, layout_of_mask, to_device
from x2vlm.models.layers.shape_rounding import EXACT, ShapeLadder


@dataclass(frozen=True)
class LayerInputs:
    """Layouts, masks and indices of one fusion layer.

    A layer computes states of its query tokens: all tokens, or in the last layer the requested ones.

    Attributes:
        key_layout: Layout of the tokens that it reads, one group for each text.
        query_layout: Layout of its query tokens.
        attn_mask: Bool, broadcastable to ``[R, 1, Q, S]``, the self-attention mask of the queries; None: no mask.
        cross_attention: Keys, values and groups of cross-attention; None without contexts.
        rows: ``[T]`` long, the row of each query token.
        positions: ``[T]`` long, its position in its text.
        size: Number of rows, and of positions of the longest.
        keep: ``[W]`` long, indices of the query tokens among all tokens; None: all.
        repeat: ``[T]`` long, indices that repeat the tokens of distinct texts for the rows that read them; None: no
            repetition.
    """

    key_layout: Layout
    query_layout: Layout
    attn_mask: Tensor | None
    cross_attention: CrossAttentionInputs | None
    rows: Tensor
    positions: Tensor
    size: tuple[int, int]
    keep: Tensor | None = None
    repeat: Tensor | None = None


class FusionPlan:
    """Several requests as one sequence of real tokens.

    Args:
        requests: The requests.
        shares_first: Run self-attention of the first layer, which depends on texts alone, once for each distinct text
            however many rows read it. Only without dropout, which draws for each row.
        ladder: Rungs that sizes are rounded up to.

    Raises:
        ValueError: If a state is requested at padding, or two different contexts have one name.
    """

    def __init__(
        self, requests: Sequence[FusionRequest], shares_first: bool = False, ladder: ShapeLadder = EXACT
    ) -> None:
        names = [None if r.context is None else r.context.source or number for number, r in enumerate(requests)]
        first_use = {name: names.index(name) for name in names}
        # Rows with the same context tokens are adjacent; texts without context come last.
        self.order = sorted(range(len(requests)), key=lambda n: (names[n] is None, first_use[names[n]], n))
        self.requests = [requests[n] for n in self.order]
        texts, contexts = indices_on_host(self.requests)
        self.packed = PackedTexts(self.requests, texts, ladder)
        self.sources = []
        for name in dict.fromkeys(names[n] for n in self.order if names[n] is not None):
            members = [index for index, n in enumerate(self.order) if names[n] == name]
            self.sources.append(
                HostKeyValueSource([self.requests[n] for n in members], [contexts[n] for n in members], ladder)
            )
        rows_with_context = sum(len(source.contexts) for source in self.sources)
        self.all_tokens = all_tokens(self.packed, rows_with_context, ladder)
        self.requested = requested_tokens(self.packed, rows_with_context, ladder)
        self.distinct = self.packed.distinct(ladder) if shares_first and self.packed.repeats_texts() else None
        requests_and_masks = zip(self.requests, self.packed.masks, strict=True)
        self.output_layouts = [
            layout_of_mask(mask) if request.at is None else None for request, mask in requests_and_masks
        ]
        cross = [None if one is None else self._cross_attention(one) for one in (self.all_tokens, self.requested)]
        self._build_inputs(to_device(self._tables(cross), self.requests[0].text.embeds.device), cross)

    def _cross_attention(self, tokens: HostTokens) -> HostCrossAttention | None:
        """Group the query tokens by the image that they attend to."""
        rows, count = tokens.position // self.packed.real.shape[1], tokens.with_context
        return group_queries(self.sources, rows[:count], tokens.real[:count]) if self.sources else None

    def _tables(self, cross: Sequence[HostCrossAttention | None]) -> dict[str, Array]:
        """All index tables and masks of the layers, by name."""
        embed_index = self.packed.embed_index.ravel()[self.all_tokens.position]
        tables = {"embed_index": embed_index} | _prefixed("texts", self.packed.arrays())
        if self.distinct is not None:
            layout, numbers, token_index = self.distinct
            tables |= _prefixed("distinct", layout.arrays()) | {
                "embed_index": numbers,
                "repeat": token_index[embed_index],
            }
        for name, tokens, sources in zip(("all", "requested"), (self.all_tokens, self.requested), cross, strict=True):
            if tokens is not None:
                rows, positions = np.divmod(tokens.position, self.packed.real.shape[1])
                tables |= _prefixed(f"{name}.layout", tokens.layout.arrays())
                tables |= {f"{name}.rows": rows, f"{name}.positions": positions}
                tables |= _prefixed(f"{name}.sources", {} if sources is None else sources.arrays())
        if self.requested is not None:
            token_index = np.zeros(self.packed.real.size, np.int64)  # index among all tokens, by flat position
            real = np.flatnonzero(self.all_tokens.real)
            token_index[self.all_tokens.position[real]] = real
            tables["requested.keep"] = token_index[self.requested.position]
        for number, source in enumerate(self.sources):
            tables |= _prefixed(f"source{number}", source.arrays())
        for number, layout in enumerate(self.output_layouts):
            tables |= _prefixed(f"output{number}", {} if layout is None else layout.arrays())
        return tables

    def _build_inputs(self, sent: Mapping[str, Tensor], cross: Sequence[HostCrossAttention | None]) -> None:
        """The inputs of the layers from the tables on the device."""
        self.tokens = self.packed.embeds().index_select(0, sent["embed_index"])  # [T, D], what the first layer reads
        sources = [KeyValueSource.of(host, _without_prefix(f"source{n}", sent)) for n, host in enumerate(self.sources)]
        attn_mask = self.packed.attn_mask(_without_prefix("texts", sent))
        key_layout = self.all_tokens.layout.layout(_without_prefix("all.layout", sent))
        inputs = []
        for name, tokens, queries_of_source in zip(
            ("all", "requested"), (self.all_tokens, self.requested), cross, strict=True
        ):
            if tokens is None:
                continue
            tables = _without_prefix(name, sent)
            query_layout = (
                key_layout if tokens is self.all_tokens else tokens.layout.layout(_without_prefix("layout", tables))
            )
            inputs.append(
                LayerInputs(
                    key_layout=key_layout,
                    query_layout=query_layout,
                    attn_mask=_attn_mask(key_layout, query_layout, attn_mask, tables["rows"], tables["positions"]),
                    cross_attention=None
                    if queries_of_source is None
                    else queries_of_source.on_device(sources, _without_prefix("sources", tables)),
                    rows=tables["rows"],
                    positions=tables["positions"],
                    size=self.packed.real.shape,
                    keep=tables.get("keep"),
                )
            )
        self._inputs = inputs
        self._first = None
        if self.distinct is not None:
            self._first = self.distinct[0].layout(_without_prefix("distinct", sent)), sent["repeat"]
        self._outputs = [
            None if host is None else host.layout(_without_prefix(f"output{n}", sent))
            for n, host in enumerate(self.output_layouts)
        ]

    def layers(self, depth: int) -> list[LayerInputs]:
        """The inputs of each of ``depth`` layers."""
        inputs = [self._inputs[0]] * (depth - 1) + [self._inputs[-1]]
        if self._first is not None:
            layout, repeat = self._first
            repeat = repeat if inputs[0].keep is None else repeat[inputs[0].keep]
            mask = None if layout.is_full else layout.filled[:, None, None]
            inputs[0] = replace(
                inputs[0], key_layout=layout, query_layout=layout, attn_mask=mask, keep=None, repeat=repeat
            )
        return inputs

    def states(self, hidden: Tensor) -> list[Tensor]:
        """``[W, D]`` states of the last layer -> the states of each request, in the order of the requests."""
        states: dict[int, Tensor] = {}
        ranges = (self.all_tokens if self.requested is None else self.requested).ranges
        for number, token_range, layout in zip(self.order, ranges, self._outputs, strict=True):
            states[number] = hidden[token_range] if layout is None else layout.zero_padded(hidden[token_range])
        return [states[number] for number in range(len(states))]


def _attn_mask(
    key_layout: Layout, query_layout: Layout, attn_mask: Tensor | None, rows: Tensor, positions: Tensor
) -> Tensor | None:
    if attn_mask is not None:
        return query_layout.pad(attn_mask[rows, positions])[:, None]
    return None if key_layout.is_full else key_layout.filled[:, None, None]


def _prefixed(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{name}.{key}": array for key, array in arrays.items()}


def _without_prefix(name: str, sent: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in sent.items() if key.startswith(f"{name}.")}
