"""Reading many texts with many contexts in one pass: what is wanted, and where every token stands in it.

Matching, masked words and boxes send texts through the same layers. What each of them wants is a :class:`Reading`; a
:class:`Plan` puts the real tokens of several readings one behind the other, so that every layer runs once for all, and
says who may look at whom.

Shape letters: R rows to read, T their real tokens, W wanted tokens, B texts or contexts that rows choose from, C all
contexts of one source, U distinct pictures of it, N patches, S summaries of a picture, M positions, L tokens, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.models.layers.packing import Layout, places_in_groups

if TYPE_CHECKING:
    from x2vlm.models.outputs import Context, TextStates

KeyValue = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reading:
    """Texts to be read, each with a context.

    Attributes:
        text: What rows choose texts from.
        context: What they choose contexts from; None for plain text.
        texts: ``[R]`` long, the text of each row; None: row r reads text r.
        contexts: ``[R]`` long, the context of each row; None: row r has context r.
        at: Which states are wanted in the end, of real tokens: a position for all rows, ``[R, M]`` long, or None for
            all. The last layer spares what is not wanted.
    """

    text: "TextStates"
    context: "Context | None"
    texts: Tensor | None = None
    contexts: Tensor | None = None
    at: Tensor | int | None = None

    def __len__(self) -> int:
        return len(self.text.embeds if self.texts is None else self.texts)

    def chosen(self) -> "tuple[TextStates, Context | None]":
        """Text and context of every row, copied where rows choose."""
        text, context = self.text, self.context
        text = text if self.texts is None else text.select(self.texts)
        return text, context if self.contexts is None or context is None else context.select(self.contexts)

    def wanted(self, hidden: Tensor) -> Tensor:
        """Of ``[R, L, D]`` states those at ``at``: ``[R, D]``, ``[R, M, D]``, or all."""
        if self.at is None:
            return hidden
        if isinstance(self.at, int):
            return hidden[:, self.at]
        return hidden.gather(1, self.at[..., None].expand(-1, -1, hidden.shape[-1]))


@dataclass(frozen=True)
class Asked:
    """Which tokens of a layer ask which pictures.

    Attributes:
        layout: ``tokens`` in groups that ask the same picture.
        pictures: ``[G]`` long, the picture that each group asks; None: group u asks picture u.
        mask: ``[G, 1, Q, S + N]`` bool, what each token in its group may see; None: everything.
    """

    layout: Layout
    pictures: Tensor | None
    mask: Tensor | None


class Source:
    """Pictures (clips, sentences) that rows read, with the summaries of whatever parts of them are read.

    Args:
        contexts: Contexts over the same tokens.
        memory: Keys and values of these tokens for every layer, if they are at hand.
    """

    def __init__(self, contexts: "Sequence[Context]", memory: Sequence[KeyValue] | None) -> None:
        self.tokens, self.memory = contexts[0].tokens, memory
        summaries, owners, masks = zip(*map(_parts, contexts), strict=True)
        owner = torch.cat(owners)
        self.summaries = Layout.of(owner, len(self.tokens)).pad(torch.cat(summaries))  # [U, S, D]
        place, _ = places_in_groups(owner, len(self.tokens))
        own = place[:, None] == torch.arange(self.summaries.shape[1], device=place.device)
        self.owner, self.sees = owner, torch.cat([own, torch.cat(masks)], dim=1)  # [C], [C, S + N]
        self.sees_all = bool(self.sees.all())
        starts = [0]
        for each in owners:
            starts.append(starts[-1] + len(each))
        self.start = {id(context): start for context, start in zip(contexts, starts[:-1], strict=True)}

    def rows(self, reading: Reading) -> Tensor:
        """``[R]`` long, which of the ``C`` contexts each row reads."""
        context, chosen = reading.context, reading.contexts
        place = context.owner if context.sees_whole else torch.arange(len(context), device=self.owner.device)
        return self.start[id(context)] + (place if chosen is None else place[chosen])

    def asked(self, context: Tensor) -> Asked:
        """Tokens of which ``[T]`` long says the context, in groups of a bounded size that ask the same picture."""
        picture, pictures = self.owner[context], len(self.tokens)
        place, counts = places_in_groups(picture, pictures)
        bound = max(64, 2 * -(-len(context) // pictures))
        if len(context) == 0 or int(counts.max()) <= bound:
            layout, owners = Layout.of(picture, pictures), None
        else:  # much-asked pictures are asked by several groups, or all would be as large as the largest
            names, group = torch.unique(picture * len(context) + place // bound, return_inverse=True)
            layout, owners = Layout.of(group, len(names)), names // len(context)
        mask = None if self.sees_all else layout.pad(self.sees[context], 1)[:, None]
        return Asked(layout, owners, mask)

    def keys_values(self, project: Any, layer: int) -> KeyValue:
        """``[U, H, S + N, d]`` each, by ``project(source)``; the tokens' from memory where there is one."""
        if self.memory is None:
            return project(torch.cat([self.summaries, self.tokens], dim=1))
        own = project(self.summaries)
        return tuple(torch.cat(both, dim=2) for both in zip(own, self.memory[layer], strict=True))


def _parts(context: "Context") -> tuple[Tensor, Tensor, Tensor]:
    """Distinct summaries, whose they are, and what one sees beside them."""
    if not context.sees_whole:
        return context.summary, context.owner, context.mask
    tokens, masks = context.tokens, context.masks
    summaries = tokens.mean(dim=1) if context.summaries is None else context.summaries
    if masks is None:
        masks = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return summaries, torch.arange(len(tokens), device=tokens.device), masks


@dataclass(frozen=True)
class Step:
    """What a layer needs to know of the tokens it reads.

    Attributes:
        keys: Where its tokens stand, in groups of a text each.
        queries: Where those stand that go on.
        mask: Bool, broadcastable to ``[G, 1, Q, S]``, where each of them may look in its text; None: everywhere.
        keep: ``[W]`` long, which tokens go on; None: all.
        repeat: ``[T]`` long, how tokens are repeated after self-attention for the rows that read them; None: not.
        sources: Each with who asks it: a range of the tokens that go on, all of those that have a context.
        rows: ``[T]`` long, the row of each token that goes on.
        positions: ``[T]`` long, its position in its text.
        size: Number of rows, and of positions of the longest.
    """

    keys: Layout
    queries: Layout
    mask: Tensor | None
    keep: Tensor | None
    repeat: Tensor | None
    sources: list[tuple[Source, Asked, slice]]
    rows: Tensor
    positions: Tensor
    size: tuple[int, int]


class Plan:
    """Several readings as one sequence of real tokens.

    Args:
        readings: What is to be read.
        memories: For each reading keys and values of its context's tokens, or None.
        shares_first: Whether self-attention of the first layer, which depends on texts alone, may run once for each
            distinct text, whoever reads it: so it may where nothing is drawn at random.
    """

    def __init__(self, readings: Sequence[Reading], memories: Sequence[Any], shares_first: bool) -> None:
        names = [None if reading.context is None else id(reading.context.tokens) for reading in readings]
        first = {name: names.index(name) for name in names}
        # Rows that read the same tokens stand together, so that a range of the sequence asks them; plain texts last.
        self.order = sorted(range(len(readings)), key=lambda n: (names[n] is None, first[names[n]], n))
        self.readings = [readings[n] for n in self.order]
        self.texts = Texts(self.readings)
        self.sources: list[tuple[Source, Tensor]] = []
        for name in dict.fromkeys(names[n] for n in self.order if names[n] is not None):
            numbers = [n for n in self.order if names[n] == name]
            contexts = {id(readings[n].context): readings[n].context for n in numbers}
            source = Source(list(contexts.values()), memories[numbers[0]])
            self.sources.append((source, torch.cat([source.rows(readings[n]) for n in numbers])))
        self.shares_first = shares_first and len(self.texts.repeat) > len(self.texts.tokens)

    @property
    def tokens(self) -> Tensor:
        """``[T, D]``, what the first layer reads."""
        return self.texts.tokens if self.shares_first else self.texts.tokens.index_select(0, self.texts.repeat)

    def steps(self, depth: int) -> list[Step]:
        """What each of ``depth`` layers needs to know."""
        texts, keep = self.texts, self.texts.keep
        all_rows, all_positions = texts.row, texts.position
        every = Step(
            keys=texts.layout,
            queries=texts.layout,
            mask=texts.mask(texts.layout, all_rows, all_positions),
            keep=None,
            repeat=None,
            sources=self._asking(all_rows),
            rows=all_rows,
            positions=all_positions,
            size=(texts.layout.groups, texts.layout.size),
        )
        steps = [every] * depth
        if keep is not None:
            rows, positions = all_rows[keep], all_positions[keep]
            queries = Layout.of(rows, texts.layout.groups)
            mask = texts.mask(queries, rows, positions)
            sources = self._asking(rows)
            steps[-1] = replace(
                every, queries=queries, mask=mask, keep=keep, sources=sources, rows=rows, positions=positions
            )
        if self.shares_first:
            layout, mask = texts.distinct
            keep = None if steps[0].keep is None else steps[0].keep
            repeat = texts.repeat if keep is None else texts.repeat[keep]
            steps[0] = replace(steps[0], keys=layout, queries=layout, mask=mask, keep=None, repeat=repeat)
        return steps

    def answers(self, hidden: Tensor) -> list[Tensor]:
        """``[W, D]`` tokens that went on -> for each reading the states it wants, in the order they were given in."""
        found: dict[int, Tensor] = {}
        tokens = hidden.split(self.texts.wanted)
        for number, reading, own in zip(self.order, self.readings, tokens, strict=True):
            found[number] = self.texts.answer(reading, own)
        return [found[number] for number in range(len(found))]

    def _asking(self, rows: Tensor) -> list[tuple[Source, Asked, slice]]:
        """The sources with the tokens, of rows ``[T]`` that stand in order, that ask them."""
        asking, first = [], 0
        for source, contexts in self.sources:
            last = first + len(contexts)
            start, stop = int((rows < first).sum()), int((rows < last).sum())
            asking.append((source, source.asked(contexts[rows[start:stop] - first]), slice(start, stop)))
            first = last
        return asking


class Texts:
    """The texts of several readings: distinct ones as one sequence of tokens, and the rows that read them.

    Attributes:
        tokens: ``[T0, D]``, real tokens of the distinct texts.
        repeat: ``[T]`` long, which of them each token of the rows is.
        row: ``[T]`` long, its row.
        position: ``[T]`` long, its position.
        layout: Where the rows' tokens stand, in groups of a row each.
        keep: ``[W]`` long, those of the ``T`` whose states are wanted; None: all.
        wanted: How many of them are each reading's.
    """

    def __init__(self, readings: Sequence[Reading]) -> None:
        self.views = {id(reading.text.embeds): reading.text for reading in readings}
        tables, packed, start = {}, [], 0
        for name, view in self.views.items():
            layout = _layout(view)
            packed.append(layout.pack(view.embeds))
            table = layout.slot.new_full((layout.groups * layout.size,), -1)
            numbers = torch.arange(start, start + len(layout.slot), device=table.device)
            tables[name] = table.index_copy(0, layout.slot, numbers).view(layout.groups, layout.size)
            start += len(numbers)
        self.tokens = torch.cat(packed)
        chosen = [
            tables[id(r.text.embeds)] if r.texts is None else tables[id(r.text.embeds)][r.texts] for r in readings
        ]
        self.counts = [len(each) for each in chosen]
        size = max(each.shape[1] for each in chosen)
        numbers = torch.cat([F.pad(each, (0, size - each.shape[1]), value=-1) for each in chosen])  # [R, S]
        self.layout = Layout.of_mask(numbers >= 0)
        self.repeat = numbers.flatten()[self.layout.slot]
        self.row, self.position = self.layout.slot // size, self.layout.slot % size
        self.looks = _looks(readings, numbers >= 0) if any(v.mask.dim() == 3 for v in self.views.values()) else None
        self.keep, self.wanted = self._wanted(readings, numbers >= 0)

    def mask(self, queries: Layout, rows: Tensor, positions: Tensor) -> Tensor | None:
        """Where tokens at these rows and positions may look: broadcastable to ``[R, 1, Q, S]``; None: everywhere."""
        if self.looks is not None:
            return queries.pad(self.looks[rows, positions], 1)[:, None]
        return None if self.layout.is_full else self.layout.filled[:, None, None]

    @cached_property
    def distinct(self) -> tuple[Layout, Tensor | None]:
        """Where the distinct texts' tokens stand, and where they may look."""
        alone = Texts([Reading(view, None) for view in self.views.values()])
        return alone.layout, alone.mask(alone.layout, alone.row, alone.position)

    def answer(self, reading: Reading, tokens: Tensor) -> Tensor:
        """The states that a reading wants, from its tokens among those that went on."""
        if isinstance(reading.at, int):
            return tokens
        if reading.at is not None:
            return tokens.view(*reading.at.shape, tokens.shape[-1])
        mask = reading.text.mask if reading.texts is None else reading.text.mask[reading.texts]
        layout = _layout(replace(reading.text, mask=mask, embeds=mask))
        return layout.pad(tokens)

    def _wanted(self, readings: Sequence[Reading], real: Tensor) -> tuple[Tensor | None, list[int]]:
        counts = [int(some.sum()) for some in real.split(self.counts)]
        if all(reading.at is None for reading in readings):
            return None, counts
        numbers = torch.full(real.shape, -1, device=real.device).masked_scatter(
            real, torch.arange(sum(counts), device=real.device)
        )
        keep = []
        for reading, own in zip(readings, numbers.split(self.counts), strict=True):
            if reading.at is None:
                keep.append(own[own >= 0])
            elif isinstance(reading.at, int):
                keep.append(own[:, reading.at])
            else:
                keep.append(own.gather(1, reading.at).flatten())
        places = torch.cat(keep)
        if len(places) and int(places.min()) < 0:
            raise ValueError("a state is asked for at a position that is padding. Ask at real tokens (text.mask) only.")
        return places, [len(one) for one in keep]


def _layout(view: "TextStates") -> Layout:
    """Real tokens; all where each token may look elsewhere, as it is not told then which are real."""
    mask = view.mask if view.mask.dim() == 2 else torch.ones_like(view.mask[..., 0])
    return Layout.of_mask(mask)


def _looks(readings: Sequence[Reading], real: Tensor) -> Tensor:
    """``[R, S, K]`` bool, where each token may look; K is S, and more where earlier tokens are remembered."""
    each, start = [], 0
    for reading in readings:
        mask = reading.text.mask if reading.texts is None else reading.text.mask[reading.texts]
        own = real[start : start + len(mask)]
        start += len(mask)
        if mask.dim() == 2:
            mask = own[:, None].expand(-1, own.shape[1], -1)
        size = real.shape[1]
        each.append(F.pad(mask, (0, max(0, size - mask.shape[2]), 0, size - mask.shape[1]), value=False))
    return torch.cat(each)
