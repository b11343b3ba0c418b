"""Keys and values of cross-attention, projected once per distinct image for all query tokens that attend to it.

Names with ``Host`` are the parts of a plan in main memory; the names without are their counterparts on the device.
Shape letters: U images (clips, sentences) of a source, N their tokens, C contexts over them, S summaries of an image,
T query tokens, G groups of query tokens that attend to one image, Q tokens of a group, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.layers.attention import KeyValue
from x2vlm.models.layers.packing import Array, HostLayout, Layout, empty_slot, layout_of_groups, positions_in_groups
from x2vlm.models.layers.shape_rounding import ShapeLadder, round_up
from x2vlm.models.outputs import Context

MIN_GROUP_SIZE = 64  # query tokens of an image that always fit in one group, however few the other images have


class HostKeyValueSource:
    """The contexts of several requests over the same image tokens, planned in main memory.

    A context of image parts has a summary for each pair; one of whole images has a summary for each image.

    Args:
        requests: The requests with these tokens.
        chosen: For each request the context of each row; None: row r has context r.
        ladder: Rungs that sizes are rounded up to.

    Raises:
        ValueError: If two different contexts have one name.
    """

    def __init__(self, requests: Sequence[FusionRequest], chosen: Sequence[Array | None], ladder: ShapeLadder) -> None:
        contexts, self.ladder = [request.context for request in requests], ladder
        self.tokens, self.keys_values = contexts[0].tokens, requests[0].keys_values
        self.parts = next((context for context in contexts if not context.sees_whole), None)
        self.whole = next((context for context in contexts if context.sees_whole), None)
        differing = [c for c in contexts if c.tokens is not self.tokens or not (c.sees_whole or c is self.parts)]
        if differing:
            raise ValueError(
                f"two contexts that differ carry the name {contexts[0].source!r}. Give each its own `source`, or None."
            )
        self.images, num_parts = len(self.tokens), 0 if self.parts is None else len(self.parts)
        owners = [] if self.parts is None else [owner_on_host(self.parts)]
        owners += [] if self.whole is None else [np.arange(self.images)]
        self.owner = np.concatenate(owners)  # [C]
        self.contexts = np.concatenate(  # of each row
            [
                (num_parts + owner_on_host(context) if context.sees_whole else np.arange(len(context)))[
                    slice(None) if index is None else index
                ]
                for context, index in zip(contexts, chosen, strict=True)
            ]
        )
        self.summaries: HostLayout | None = None
        if self.parts is not None:
            position, counts = positions_in_groups(self.owner, self.images)
            size = round_up(int(counts.max()), ladder.lengths)
            self.summaries = HostLayout(self.owner * size + position, self.images, size, len(position))
            self.own = position[:, None] == np.arange(size)

    def arrays(self) -> dict[str, Array]:
        """The arrays to copy to the device."""
        if self.summaries is None:
            return {}
        return {f"summary.{name}": array for name, array in self.summaries.arrays().items()} | {"own": self.own}

    def query_groups(self, context: Array) -> tuple[HostLayout, Array | None]:
        """Group query tokens by image, in groups of a bounded size.

        Args:
            context: ``[T]``, the context of each query token.

        Returns:
            The layout of the groups, and the image of each group; None: group u attends to image u.
        """
        image = self.owner[context]
        position, counts = positions_in_groups(image, self.images)
        bound = round_up(max(MIN_GROUP_SIZE, 2 * -(-len(context) // self.images)), self.ladder.queries)
        if int(counts.max(initial=0)) <= bound:
            return layout_of_groups(image, self.images, ShapeLadder(0, self.ladder.queries, 0, 0)), None
        # An image with many query tokens gets several groups: one padded size for all would be that of the largest.
        group_ids, group = np.unique(image * len(context) + position // bound, return_inverse=True)
        images = np.zeros(round_up(len(group_ids), self.ladder.groups), np.int64)
        images[: len(group_ids)] = group_ids // len(context)
        return layout_of_groups(group, len(images), ShapeLadder(0, self.ladder.queries, 0, 0)), images


@dataclass(frozen=True)
class KeyValueSource:
    """Tokens from which keys and values are projected.

    Attributes:
        tokens: ``[U, S + N, D]``, summaries in front; with ``projected`` the ``[U, S, D]`` summaries only.
        key_mask: ``[C, S + N]`` bool, True where a context may attend; None: no mask.
        mask_by_context: Whether contexts of one image have different masks.
        projected: Keys and values of the ``N`` tokens for every layer, if they were projected before.
    """

    tokens: Tensor
    key_mask: Tensor | None
    mask_by_context: bool
    projected: Sequence[KeyValue] | None

    @classmethod
    def of(cls, host: HostKeyValueSource, sent: Mapping[str, Tensor]) -> "KeyValueSource":
        """The source on the device, from its plan and the copied arrays."""
        parts, whole = host.parts, host.whole
        if parts is None:
            summaries = (host.tokens.mean(dim=1) if whole.summaries is None else whole.summaries)[:, None]
            key_mask = None if whole.masks is None else torch.nn.functional.pad(whole.masks, (1, 0), value=True)
        else:
            joined = [parts.summary], [parts.mask]
            if whole is not None:
                joined[0].append(host.tokens.mean(dim=1) if whole.summaries is None else whole.summaries)
                joined[1].append(_full_mask(host.tokens) if whole.masks is None else whole.masks)
            summary, mask = (tensors[0] if whole is None else torch.cat(tensors) for tensors in joined)
            layout = host.summaries.layout({n.removeprefix("summary."): t for n, t in sent.items() if n != "own"})
            summaries, key_mask = layout.pad(summary), torch.cat([sent["own"], mask], dim=1)
        tokens = summaries if host.keys_values is not None else torch.cat([summaries, host.tokens], dim=1)
        return cls(tokens, key_mask, parts is not None, host.keys_values)

    def project(self, project: Callable[[Tensor], KeyValue], layer: int) -> KeyValue:
        """Keys and values of a layer, ``[U, H, S + N, d]`` each; projected ones are reused."""
        keys_values = project(self.tokens)
        if self.projected is None:
            return keys_values
        return tuple(torch.cat(both, dim=2) for both in zip(keys_values, self.projected[layer], strict=True))


@dataclass(frozen=True)
class QueryGroups:
    """Query tokens in groups, each of which attends to one image.

    Attributes:
        groups: G.
        size: Q.
        images: ``[G]`` long, the image of each group; None: group u attends to image u.
        attn_mask: Bool, broadcastable to ``[G, 1, Q, S + N]``; None: no mask.
    """

    groups: int
    size: int
    images: Tensor | None
    attn_mask: Tensor | None

    def select_images(self, keys_values: KeyValue) -> KeyValue:
        """Keys and values of the image of each group."""
        if self.images is None:
            return keys_values
        return tuple(each.index_select(0, self.images) for each in keys_values)


@dataclass(frozen=True)
class CrossAttentionInputs:
    """The cross-attention of a layer: which query tokens attend to which sources.

    Attributes:
        layout: Layout of the first ``count`` tokens in the slots of all groups of all sources.
        groups: For each source the groups of its tokens.
        sources: The sources.
        count: Number of tokens with a context; those of texts without context follow them.
    """

    layout: Layout
    groups: list[QueryGroups]
    sources: list[KeyValueSource]
    count: int


@dataclass(frozen=True)
class HostCrossAttention:
    """:class:`CrossAttentionInputs` in main memory.

    Attributes:
        layout: As there.
        groups: For each source: the layout of its groups, their images, and the context of the token in each slot.
        count: As there.
    """

    layout: HostLayout
    groups: list[tuple[HostLayout, Array | None, Array]]
    count: int

    def arrays(self) -> dict[str, Array]:
        """The arrays to copy to the device."""
        arrays = {f"layout.{name}": array for name, array in self.layout.arrays().items() if name != "filled"}
        for number, (_, images, contexts) in enumerate(self.groups):
            arrays |= {f"contexts{number}": contexts} | ({} if images is None else {f"images{number}": images})
        return arrays

    def on_device(self, sources: list[KeyValueSource], sent: Mapping[str, Tensor]) -> CrossAttentionInputs:
        """The inputs on the device, from the copied arrays."""
        groups = []
        for number, (source, (layout, images, _)) in enumerate(zip(sources, self.groups, strict=True)):
            image_index = None if images is None else sent[f"images{number}"]
            attn_mask = source.key_mask
            if attn_mask is not None and source.mask_by_context:
                attn_mask = attn_mask.index_select(0, sent[f"contexts{number}"]).view(layout.groups, 1, layout.size, -1)
            elif attn_mask is not None:
                attn_mask = (attn_mask if image_index is None else attn_mask.index_select(0, image_index))[
                    :, None, None
                ]
            groups.append(QueryGroups(layout.groups, layout.size, image_index, attn_mask))
        layout = self.layout.layout({n.removeprefix("layout."): t for n, t in sent.items() if n.startswith("layout.")})
        return CrossAttentionInputs(layout, groups, sources, self.count)


def group_queries(sources: Sequence[HostKeyValueSource], rows: Array, real: Array) -> HostCrossAttention:
    """Group query tokens by source and image.

    Args:
        sources: In the order of their rows.
        rows: ``[T]``, the row of each token.
        real: ``[T]`` bool, False for padding tokens.
    """
    groups, slot, offset, first_row = [], np.full(len(rows), -1, np.int64), 0, 0
    for source in sources:
        last_row = first_row + len(source.contexts)
        members = np.flatnonzero(real & (rows >= first_row) & (rows < last_row))
        context = source.contexts[rows[members] - first_row]
        layout, images = source.query_groups(context)
        if source is sources[-1] and not real.all() and offset + layout.groups * layout.size == real.sum():
            layout = HostLayout(_respaced(layout), layout.groups, layout.size + 1, layout.count)  # one slot stays free
        context_at_slot = np.full(layout.groups * layout.size, context[0] if len(context) else 0, np.int64)
        context_at_slot[layout.slot] = context
        slot[members] = offset + layout.slot
        groups.append((layout, images, context_at_slot))
        offset, first_row = offset + layout.groups * layout.size, last_row
    if not real.all():
        slot[~real] = empty_slot(slot[real], offset)
    return HostCrossAttention(HostLayout(slot, offset, 1, int(real.sum()), real), groups, len(rows))


def owner_on_host(context: Context) -> Array:
    """``owner`` as an array; waits for the device where it is not in main memory."""
    return context.owner.cpu().numpy() if context.host_owner is None else context.host_owner


def _respaced(layout: HostLayout) -> Array:
    return layout.slot // layout.size * (layout.size + 1) + layout.slot % layout.size


def _full_mask(tokens: Tensor) -> Tensor:
    return torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
