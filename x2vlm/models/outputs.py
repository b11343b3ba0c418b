"""What travels from the encoders to the objectives: contexts, texts, the batch that holds both, and who reads them.

Shape letters: B pairs, U distinct contexts, N patches (or tokens) of a context, L tokens, D width, E embed_dim.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch
from x2vlm.models.fusion.plan import Reading


@dataclass(frozen=True)
class TextStates:
    """Encoded texts.

    Attributes:
        embeds: ``[B, L, D]``; position 0 is the summary token.
        mask: ``[B, L]`` bool, True where attention may look; ``[B, L, L]`` where every token (row) may look elsewhere.
        feat: ``[B, E]``, L2-normalised, in the space shared with contexts; None where nobody needs it.
    """

    embeds: Tensor
    mask: Tensor
    feat: Tensor | None = None

    def select(self, index: Tensor) -> "TextStates":
        """The texts at ``index``, in that order."""
        return TextStates(self.embeds[index], self.mask[index], None if self.feat is None else self.feat[index])


@dataclass(frozen=True)
class Context:
    """What texts are paired with: images, regions, videos, or sentences in another language.

    Patches are held once per distinct image; a pair says which image it looks at and which of its patches it may see.
    Where an encoder reads regions on their own (CLIP ViT), their tokens stand behind those of the images, and
    ``whole_owner`` says which image a pair is of.

    Attributes:
        tokens: ``[U, N, D]`` patches of each distinct image (video, sentence), without a summary token.
        owner: ``[B]`` long, which of the ``U`` each pair looks at.
        mask: ``[B, N]`` bool, True where this pair may attend.
        summary: ``[B, D]``, what plays [CLS]: the mean of the pair's own patches. Attention always sees it.
        feat: ``[B, E]``, L2-normalised; None where nobody needs it.
        summaries: ``[U, D]``, what plays [CLS] for each of the ``U`` as a whole; None: the mean of its patches.
        whole_owner: ``[B]`` long, which of the ``U`` is all of a pair's image; None: ``owner``.
        sees_whole: Every pair looks at all of what it owns: its summary is that of the whole, its mask from ``masks``.
        masks: ``[U, N]`` bool, what there is to see of each of the ``U``; None: everything.
    """

    tokens: Tensor
    owner: Tensor
    mask: Tensor
    summary: Tensor
    feat: Tensor | None = None
    summaries: Tensor | None = None
    whole_owner: Tensor | None = None
    sees_whole: bool = False
    masks: Tensor | None = None

    def __len__(self) -> int:
        return len(self.owner)

    def select(self, index: Tensor) -> "Context":
        """The contexts of the pairs at ``index``, in that order; the tokens stay shared, not copied."""
        names = ("owner", "mask", "summary", "feat", "whole_owner")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return replace(self, **{name: value[index] for name, value in given.items()})

    def whole(self) -> "Context":
        """The same pairs, each looking at all of its image; tokens are shared. No ``feat``: it meant the part."""
        owner = self.owner if self.whole_owner is None else self.whole_owner
        summaries = self.tokens.mean(dim=1) if self.summaries is None else self.summaries
        return Context(
            self.tokens,
            owner,
            torch.ones_like(self.mask) if self.masks is None else self.masks[owner],
            summaries[owner],
            summaries=summaries,
            whole_owner=owner,
            sees_whole=True,
            masks=self.masks,
        )


class Reader:
    """Gathers what is to be read with contexts, and has it read in one pass when the first of it is needed.

    Args:
        fusion: The fusion encoder. One that can ``read`` several readings at once does; any other is called for each.
    """

    def __init__(self, fusion: Any) -> None:
        self.fusion = fusion
        self._asked: list[Reading] = []
        self._states: list[Tensor] = []
        self._memory: dict[int, tuple[Tensor, Any]] = {}

    def ask(self, reading: Reading) -> Callable[[], Tensor]:
        """Have something read later; call what is returned for its states."""
        number = len(self._states) + len(self._asked)
        self._asked.append(reading)
        return partial(self._answer, number)

    def read(self, reading: Reading) -> Tensor:
        """The states that a reading wants, now. Keys and values of its contexts are kept for the next call."""
        text, context = reading.chosen()
        memory = None if context is None else self._projected(context.tokens)
        if hasattr(self.fusion, "read"):
            return self.fusion.read([reading], [memory])[0]
        return reading.wanted(self.fusion(text, context, memory))

    def _answer(self, number: int) -> Tensor:
        if number >= len(self._states):
            asked, self._asked = self._asked, []
            together = hasattr(self.fusion, "read") and not self._memory
            self._states += self.fusion.read(asked) if together else [self.read(reading) for reading in asked]
        return self._states[number]

    def _projected(self, tokens: Tensor) -> Any:
        if id(tokens) not in self._memory:
            self._memory[id(tokens)] = tokens, self.fusion.project(tokens)  # held, or its id could become another's
        return self._memory[id(tokens)][1]


class WhenAsked:
    """A field of a dataclass that may be given as a function, which is called when the field is first read."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.place = f"_{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            raise AttributeError("no default")  # this is how dataclasses ask for one
        value = vars(instance)[self.place]
        if callable(value):
            value = vars(instance)[self.place] = value()
        return value

    def __set__(self, instance: Any, value: Any) -> None:
        vars(instance)[self.place] = value


@dataclass(frozen=True)
class EncodedBatch:
    """A batch after the towers; what every objective reads.

    Attributes:
        batch: The batch it was made from: labels, boxes, identities.
        text: The unmasked texts; None where there are only pictures. May be given as a function: what nobody reads (in
            plain text, where only masked words are guessed) is then never encoded.
        masked_text: The masked texts, likewise; None where nothing is masked.
        context: What they are paired with; None for plain text.
        temperature: Scalar, softness of the contrastive similarities (divide by it); None without contrast.
        word_embeddings: ``[V, D]``, the text encoder's input embeddings, for tied decoders.
        encode_text: ``(ids, mask, positions=None) -> TextStates`` through the text encoder.
        reader: Reads texts with contexts through the fusion encoder.
        encode_pixels: ``(pixels, masked_patches=None) -> (tokens, summary)`` through the vision encoder.
    """

    batch: Batch
    text: TextStates | None = WhenAsked()
    masked_text: TextStates | None = WhenAsked()
    context: Context | None
    temperature: Tensor | None
    word_embeddings: Tensor
    encode_text: Callable[..., TextStates]
    reader: Reader
    encode_pixels: Callable[..., tuple[Tensor, Tensor]] | None = None

    @cached_property
    def full_context(self) -> Context:
        """Every pair looking at all of its image (for boxes: a region mask would give the answer away)."""
        return self.context.whole()

    @cached_property
    def masked_context(self) -> Context | None:
        """What masked texts look at: the context. In parallel text the text, as it is the context that is masked."""
        if not self._is_parallel:
            return self.context
        embeds, mask = self.text.embeds, self.text.mask
        own = torch.arange(len(embeds), device=embeds.device)
        summaries, masks = embeds[:, 0], mask[:, 1:]
        return Context(embeds[:, 1:], own, masks, summaries, summaries=summaries, sees_whole=True, masks=masks)

    @property
    def _is_parallel(self) -> bool:
        return self.batch.context_ids is not None and self.batch.pixels is None

    @property
    def fusion(self) -> Any:
        """The fusion encoder."""
        return self.reader.fusion

    def fuse(self, context: Context | None, text: TextStates, at: Tensor | int | None = None) -> Tensor:
        """Each text after attending to its context, or only to itself where there is none, now.

        Keys and values of a context's tokens are projected at the first call and reused by later ones. What a whole
        step reads goes through :meth:`ask`, which reads it all in one pass.

        Returns:
            ``[B, L, D]``; by ``at`` ``[B, D]`` (a position for all) or ``[B, M, D]`` (positions ``[B, M]``).
        """
        return self.reader.read(Reading(text, context, at=at))

    def ask(
        self,
        context: Context | None,
        text: TextStates,
        contexts: Tensor | None = None,
        texts: Tensor | None = None,
        at: Tensor | int | None = None,
    ) -> Callable[[], Tensor]:
        """Have texts read with contexts, together with everything else that is asked for before the first answer.

        Args:
            context: What rows choose contexts from; None for plain text.
            text: What rows choose texts from.
            contexts: ``[R]`` long, the context of each row; None: row r has context r.
            texts: ``[R]`` long, the text of each row; None: row r reads text r.
            at: Which states are wanted; see :class:`~x2vlm.models.fusion.plan.Reading`.

        Returns:
            What gives the states, as from :meth:`fuse`, when it is called.
        """
        return self.reader.ask(Reading(text, context, texts, contexts, at))

    def replace(self, **changes: Any) -> "EncodedBatch":
        """A copy with some fields changed; nothing that was read so far is carried over."""
        kept = {"text": vars(self)["_text"], "masked_text": vars(self)["_masked_text"], "reader": Reader(self.fusion)}
        return replace(self, **(kept | changes))
