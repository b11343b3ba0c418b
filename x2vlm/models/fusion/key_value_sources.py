"""What texts look at in cross-attention: keys and values of images, once for all tokens that look at them.

Shape letters: U images (clips, sentences) of a source, N their tokens, C contexts over them, S summaries of an image,
T tokens that look, G groups of those that look at one image, Q tokens of a group, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from x2vlm.models.fusion.requests import FusionRequest, KeyValue
from x2vlm.models.layers.packing import Array, HostLayout, Layout, empty_slot, layout_of_groups, places_in_groups
from x2vlm.models.layers.shape_rounding import ShapeLadder, round_up
from x2vlm.models.outputs import Context

FEW = 64  # tokens that may look at an image in one group, however few look at the others


class HostSource:
    """The contexts of some requests over the same tokens, as far as they are known in main memory.

    A context that sees parts has a summary for each pair; one that sees the whole has one for each image.

    Args:
        requests: Those over these tokens.
        chosen: For each the context of each row, if rows choose.
        ladder: To which sizes are rounded up.

    Raises:
        ValueError: If two contexts that differ carry one name.
    """

    def __init__(self, requests: Sequence[FusionRequest], chosen: Sequence[Array | None], ladder: ShapeLadder) -> None:
        contexts, self.ladder = [request.context for request in requests], ladder
        self.tokens, self.keys_values = contexts[0].tokens, requests[0].keys_values
        self.parts = next((context for context in contexts if not context.sees_whole), None)
        self.whole = next((context for context in contexts if context.sees_whole), None)
        strange = [c for c in contexts if c.tokens is not self.tokens or not (c.sees_whole or c is self.parts)]
        if strange:
            raise ValueError(
                f"two contexts that differ carry the name {contexts[0].source!r}. Give each its own `source`, or None."
            )
        self.images, behind = len(self.tokens), 0 if self.parts is None else len(self.parts)
        owners = [] if self.parts is None else [owner_on_host(self.parts)]
        owners += [] if self.whole is None else [np.arange(self.images)]
        self.owner = np.concatenate(owners)  # [C]
        self.contexts = np.concatenate(  # of each row
            [
                (behind + owner_on_host(context) if context.sees_whole else np.arange(len(context)))[
                    slice(None) if index is None else index
                ]
                for context, index in zip(contexts, chosen, strict=True)
            ]
        )
        self.summaries: HostLayout | None = None
        if self.parts is not None:
            place, counts = places_in_groups(self.owner, self.images)
            size = round_up(int(counts.max()), ladder.lengths)
            self.summaries = HostLayout(self.owner * size + place, self.images, size, len(place))
            self.own = place[:, None] == np.arange(size)

    def arrays(self) -> dict[str, Array]:
        """What has to be sent."""
        if self.summaries is None:
            return {}
        return {f"summary.{name}": array for name, array in self.summaries.arrays().items()} | {"own": self.own}

    def query_groups(self, context: Array) -> tuple[HostLayout, Array | None]:
        """Tokens, of which ``[T]`` says the context, in groups of a bounded size that look at one image.

        Returns:
            The groups, and the image of each; None: group u looks at image u.
        """
        image = self.owner[context]
        place, counts = places_in_groups(image, self.images)
        bound = round_up(max(FEW, 2 * -(-len(context) // self.images)), self.ladder.queries)
        if int(counts.max(initial=0)) <= bound:
            return layout_of_groups(image, self.images, ShapeLadder(0, self.ladder.queries, 0, 0)), None
        # Images that many look at are looked at by several groups, or all would be as large as the largest.
        names, group = np.unique(image * len(context) + place // bound, return_inverse=True)
        images = np.zeros(round_up(len(names), self.ladder.groups), np.int64)
        images[: len(names)] = names // len(context)
        return layout_of_groups(group, len(images), ShapeLadder(0, self.ladder.queries, 0, 0)), images


@dataclass(frozen=True)
class KeyValueSource:
    """Tokens whose keys and values are looked at.

    Attributes:
        tokens: ``[U, S + N, D]``, summaries in front; where ``given``, the ``[U, S, D]`` summaries alone.
        sees: ``[C, S + N]`` bool, what each context may see; None: everything.
        by_context: Whether tokens of one image see different things.
        given: Keys and values of the ``N`` tokens for every layer, if they are at hand.
    """

    tokens: Tensor
    sees: Tensor | None
    by_context: bool
    given: Sequence[KeyValue] | None

    @classmethod
    def of(cls, host: HostSource, sent: Mapping[str, Tensor]) -> "KeyValueSource":
        """What was planned, with the tensors it is about."""
        parts, whole = host.parts, host.whole
        if parts is None:
            summaries = (host.tokens.mean(dim=1) if whole.summaries is None else whole.summaries)[:, None]
            sees = None if whole.masks is None else torch.nn.functional.pad(whole.masks, (1, 0), value=True)
        else:
            both = [parts.summary], [parts.mask]
            if whole is not None:
                both[0].append(host.tokens.mean(dim=1) if whole.summaries is None else whole.summaries)
                both[1].append(_all_of(host.tokens) if whole.masks is None else whole.masks)
            summary, mask = (one[0] if whole is None else torch.cat(one) for one in both)
            layout = host.summaries.layout({n.removeprefix("summary."): t for n, t in sent.items() if n != "own"})
            summaries, sees = layout.pad(summary), torch.cat([sent["own"], mask], dim=1)
        tokens = summaries if host.keys_values is not None else torch.cat([summaries, host.tokens], dim=1)
        return cls(tokens, sees, parts is not None, host.keys_values)

    def project(self, project: Callable[[Tensor], KeyValue], layer: int) -> KeyValue:
        """Keys and values of a layer, ``[U, H, S + N, d]`` each; those of the tokens as given, if they are."""
        own = project(self.tokens)
        if self.given is None:
            return own
        return tuple(torch.cat(both, dim=2) for both in zip(own, self.given[layer], strict=True))


@dataclass(frozen=True)
class QueryGroups:
    """Tokens in groups, each of which looks at one image.

    Attributes:
        groups: G.
        size: Q.
        images: ``[G]`` long; None: group u looks at image u.
        mask: Bool, broadcastable to ``[G, 1, Q, S + N]``, what each may see; None: everything.
    """

    groups: int
    size: int
    images: Tensor | None
    mask: Tensor | None

    def of_images(self, keys_values: KeyValue) -> KeyValue:
        """Keys and values of the image of each group."""
        if self.images is None:
            return keys_values
        return tuple(each.index_select(0, self.images) for each in keys_values)


@dataclass(frozen=True)
class LayerSources:
    """Which tokens of a layer look at which sources.

    Attributes:
        layout: The first ``count`` tokens, in the places of all groups of all sources, one behind the other.
        groups: For each source the groups of its tokens.
        sources: The sources.
        count: So many tokens look at something; those of plain texts stand behind them.
    """

    layout: Layout
    groups: list[QueryGroups]
    sources: list[KeyValueSource]
    count: int


@dataclass(frozen=True)
class HostSources:
    """:class:`LayerSources` in main memory.

    Attributes:
        layout: As there.
        groups: For each source: the layout of its groups, their images, and the context of the token at each place.
        count: As there.
    """

    layout: HostLayout
    groups: list[tuple[HostLayout, Array | None, Array]]
    count: int

    def arrays(self) -> dict[str, Array]:
        """What has to be sent."""
        arrays = {f"layout.{name}": array for name, array in self.layout.arrays().items() if name != "filled"}
        for number, (_, images, contexts) in enumerate(self.groups):
            arrays |= {f"contexts{number}": contexts} | ({} if images is None else {f"images{number}": images})
        return arrays

    def layer_sources(self, sources: list[KeyValueSource], sent: Mapping[str, Tensor]) -> LayerSources:
        """With the tensors that were sent."""
        groups = []
        for number, (source, (layout, images, _)) in enumerate(zip(sources, self.groups, strict=True)):
            picked = None if images is None else sent[f"images{number}"]
            mask = source.sees
            if mask is not None and source.by_context:
                mask = mask.index_select(0, sent[f"contexts{number}"]).view(layout.groups, 1, layout.size, -1)
            elif mask is not None:
                mask = (mask if picked is None else mask.index_select(0, picked))[:, None, None]
            groups.append(QueryGroups(layout.groups, layout.size, picked, mask))
        layout = self.layout.layout({n.removeprefix("layout."): t for n, t in sent.items() if n.startswith("layout.")})
        return LayerSources(layout, groups, sources, self.count)


def host_sources(sources: Sequence[HostSource], rows: Array, real: Array) -> HostSources:
    """Put tokens in groups.

    Args:
        sources: Whose rows stand one behind the other.
        rows: ``[T]``, the row of each token.
        real: ``[T]`` bool, False for tokens that only fill up.
    """
    groups, slot, offset, first = [], np.full(len(rows), -1, np.int64), 0, 0
    for source in sources:
        last = first + len(source.contexts)
        own = np.flatnonzero(real & (rows >= first) & (rows < last))
        context = source.contexts[rows[own] - first]
        layout, images = source.query_groups(context)
        if source is sources[-1] and not real.all() and offset + layout.groups * layout.size == real.sum():
            layout = HostLayout(_respaced(layout), layout.groups, layout.size + 1, layout.count)  # one place stays free
        at_place = np.full(layout.groups * layout.size, context[0] if len(context) else 0, np.int64)
        at_place[layout.slot] = context
        slot[own] = offset + layout.slot
        groups.append((layout, images, at_place))
        offset, first = offset + layout.groups * layout.size, last
    if not real.all():
        slot[~real] = empty_slot(slot[real], offset)
    return HostSources(HostLayout(slot, offset, 1, int(real.sum()), real), groups, len(rows))


def owner_on_host(context: Context) -> Array:
    """``owner`` in main memory; a device is waited for where that is not known."""
    return context.owner.cpu().numpy() if context.host_owner is None else context.host_owner


def _respaced(layout: HostLayout) -> Array:
    return layout.slot // layout.size * (layout.size + 1) + layout.slot % layout.size


def _all_of(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
