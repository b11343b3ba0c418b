"""Many texts with many contexts in one pass: what each layer needs to know of its tokens.

A :class:`FusionPlan` puts the real tokens of several requests one behind the other, so that every layer runs once for
all of them. It is made on the CPU, in NumPy, from what is in main memory, and sent to the device in one copy.

Shape letters: R rows, S places of a row, T tokens of all rows, W tokens that are wanted in the end, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from x2vlm.models.fusion.key_value_sources import HostSource, HostSources, KeyValueSource, LayerSources, host_sources
from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.fusion.tokens import HostTokens, PackedTexts, every_token, indices_on_host, wanted_tokens
from x2vlm.models.layers.packing import Array, Layout, layout_of_mask, send
from x2vlm.models.layers.shape_rounding import EXACT, ShapeLadder


@dataclass(frozen=True)
class LayerInputs:
    """What a layer needs to know of the tokens it reads.

    Attributes:
        keys: Where its tokens stand, in groups of a text each.
        queries: Where those stand that go on.
        mask: Bool, broadcastable to ``[R, 1, Q, S]``, where each of them may look in its text; None: everywhere.
        sources: What the tokens that go on look at beside their text; None without contexts.
        rows: ``[T]`` long, the row of each token that goes on.
        positions: ``[T]`` long, its position in its text.
        size: Number of rows, and of positions of the longest.
        keep: ``[W]`` long, which tokens go on; None: all.
        repeat: ``[T]`` long, how tokens are repeated after self-attention for the rows that read them; None: not.
    """

    keys: Layout
    queries: Layout
    mask: Tensor | None
    sources: LayerSources | None
    rows: Tensor
    positions: Tensor
    size: tuple[int, int]
    keep: Tensor | None = None
    repeat: Tensor | None = None


class FusionPlan:
    """Several requests as one sequence of real tokens.

    Args:
        requests: What is to be read.
        shares_first: Whether self-attention of the first layer, which depends on texts alone, may run once for each
            distinct text, whoever reads it: so it may where nothing is drawn at random.
        ladder: To which sizes are rounded up.

    Raises:
        ValueError: If a state is asked for at padding, or two contexts that differ carry one name.
    """

    def __init__(
        self, requests: Sequence[FusionRequest], shares_first: bool = False, ladder: ShapeLadder = EXACT
    ) -> None:
        names = [None if r.context is None else r.context.source or number for number, r in enumerate(requests)]
        first = {name: names.index(name) for name in names}
        # Rows that look at the same tokens stand together; plain texts last.
        self.order = sorted(range(len(requests)), key=lambda n: (names[n] is None, first[names[n]], n))
        self.requests = [requests[n] for n in self.order]
        texts, contexts = indices_on_host(self.requests)
        self.packed = PackedTexts(self.requests, texts, ladder)
        self.sources = []
        for name in dict.fromkeys(names[n] for n in self.order if names[n] is not None):
            own = [place for place, n in enumerate(self.order) if names[n] == name]
            self.sources.append(HostSource([self.requests[n] for n in own], [contexts[n] for n in own], ladder))
        looking = sum(len(source.contexts) for source in self.sources)
        self.every, self.wanted = every_token(self.packed, looking, ladder), wanted_tokens(self.packed, looking, ladder)
        self.distinct = self.packed.distinct(ladder) if shares_first and self.packed.repeats() else None
        whole = zip(self.requests, self.packed.masks, strict=True)
        self.answers = [layout_of_mask(mask) if request.at is None else None for request, mask in whole]
        looks = [None if one is None else self._looking(one) for one in (self.every, self.wanted)]
        self._receive(send(self._tables(looks), self.requests[0].text.embeds.device), looks)

    def _looking(self, tokens: HostTokens) -> HostSources | None:
        """In which groups tokens look at what."""
        rows, front = tokens.place // self.packed.real.shape[1], tokens.with_context
        return host_sources(self.sources, rows[:front], tokens.real[:front]) if self.sources else None

    def _tables(self, looks: Sequence[HostSources | None]) -> dict[str, Array]:
        """Everything that the layers look up, by name."""
        number = self.packed.number.ravel()[self.every.place]
        tables = {"number": number} | _named("texts", self.packed.arrays())
        if self.distinct is not None:
            layout, numbers, which = self.distinct
            tables |= _named("distinct", layout.arrays()) | {"number": numbers, "repeat": which[number]}
        for name, tokens, sources in zip(("every", "wanted"), (self.every, self.wanted), looks, strict=True):
            if tokens is not None:
                rows, positions = np.divmod(tokens.place, self.packed.real.shape[1])
                tables |= _named(f"{name}.layout", tokens.layout.arrays())
                tables |= {f"{name}.rows": rows, f"{name}.positions": positions}
                tables |= _named(f"{name}.sources", {} if sources is None else sources.arrays())
        if self.wanted is not None:
            which = np.zeros(self.packed.real.size, np.int64)  # at each place, which of all tokens stands there
            real = np.flatnonzero(self.every.real)
            which[self.every.place[real]] = real
            tables["wanted.keep"] = which[self.wanted.place]
        for number, source in enumerate(self.sources):
            tables |= _named(f"source{number}", source.arrays())
        for number, layout in enumerate(self.answers):
            tables |= _named(f"answer{number}", {} if layout is None else layout.arrays())
        return tables

    def _receive(self, sent: Mapping[str, Tensor], looks: Sequence[HostSources | None]) -> None:
        """Make of the tables on the device what the layers get."""
        self.tokens = self.packed.embeds().index_select(0, sent["number"])  # [T, D], what the first layer reads
        sources = [KeyValueSource.of(one, _under(f"source{n}", sent)) for n, one in enumerate(self.sources)]
        look = self.packed.where_tokens_look(_under("texts", sent))
        keys = self.every.layout.layout(_under("every.layout", sent))
        made = []
        for name, tokens, groups in zip(("every", "wanted"), (self.every, self.wanted), looks, strict=True):
            if tokens is None:
                continue
            own = _under(name, sent)
            queries = keys if tokens is self.every else tokens.layout.layout(_under("layout", own))
            made.append(
                LayerInputs(
                    keys=keys,
                    queries=queries,
                    mask=_mask(keys, queries, look, own["rows"], own["positions"]),
                    sources=None if groups is None else groups.layer_sources(sources, _under("sources", own)),
                    rows=own["rows"],
                    positions=own["positions"],
                    size=self.packed.real.shape,
                    keep=own.get("keep"),
                )
            )
        self._inputs = made
        self._first = None
        if self.distinct is not None:
            self._first = self.distinct[0].layout(_under("distinct", sent)), sent["repeat"]
        self._answers = [
            None if one is None else one.layout(_under(f"answer{n}", sent)) for n, one in enumerate(self.answers)
        ]

    def layers(self, depth: int) -> list[LayerInputs]:
        """What each of ``depth`` layers needs to know."""
        inputs = [self._inputs[0]] * (depth - 1) + [self._inputs[-1]]
        if self._first is not None:
            layout, repeat = self._first
            repeat = repeat if inputs[0].keep is None else repeat[inputs[0].keep]
            mask = None if layout.is_full else layout.filled[:, None, None]
            inputs[0] = replace(inputs[0], keys=layout, queries=layout, mask=mask, keep=None, repeat=repeat)
        return inputs

    def states(self, hidden: Tensor) -> list[Tensor]:
        """``[W, D]`` tokens that went on -> the states of each request, in the order the requests were given in."""
        found: dict[int, Tensor] = {}
        ranges = (self.every if self.wanted is None else self.wanted).ranges
        for number, own, layout in zip(self.order, ranges, self._answers, strict=True):
            found[number] = hidden[own] if layout is None else layout.zero_padded(hidden[own])
        return [found[number] for number in range(len(found))]


def _mask(keys: Layout, queries: Layout, look: Tensor | None, rows: Tensor, positions: Tensor) -> Tensor | None:
    if look is not None:
        return queries.pad(look[rows, positions])[:, None]
    return None if keys.is_full else keys.filled[:, None, None]


def _named(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{name}.{key}": array for key, array in arrays.items()}


def _under(name: str, sent: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): tensor for key, tensor in sent.items() if key.startswith(f"{name}.")}
