"""Outputs of the towers: contexts, text states, and the encoded batch with both.

Shape letters: B pairs, U distinct contexts, N patches (or tokens) of a context, L tokens, D width, E embed_dim.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from x2vlm.data.batch import Batch


@dataclass(frozen=True)
class TextStates:
    """Encoded texts.

    Attributes:
        embeds: ``[B, L, D]``.
        mask: ``[B, L]`` bool, True where attention may look; ``[B, L, L]`` where every token (row) may look elsewhere.
        feat: ``[B, E]``, L2-normalised, in the space shared with contexts; None where nobody needs it.
        host_mask: ``mask`` in main memory, an array, from which is planned what the fusion encoder reads; None: it is
            fetched.
        source: Name of these texts within a model's pass: requests for equally named texts share what depends on the
            texts alone. None: nothing is shared.
        summary_at: ``[B]`` long, the position of the token that stands for the whole text; None: 0.
    """

    embeds: Tensor
    mask: Tensor
    feat: Tensor | None = None
    host_mask: np.ndarray | None = None
    source: str | None = None
    summary_at: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeds)

    @property
    def summary(self) -> Tensor:
        """``[B, D]``, what plays [CLS]: the state of the first token, or that of the last real one (``summary_at``)."""
        if self.summary_at is None:
            return self.embeds[:, 0]
        return self.embeds[torch.arange(len(self.embeds), device=self.embeds.device), self.summary_at]

    def select(self, index: Tensor) -> "TextStates":
        """The texts at ``index``, in that order."""
        feat, at = (None if one is None else one[index] for one in (self.feat, self.summary_at))
        return TextStates(self.embeds[index], self.mask[index], feat, summary_at=at)

    def without_summary(self) -> tuple[Tensor, Tensor]:
        """The tokens beside the summary, and their mask; all, where a real word plays it."""
        first = 1 if self.summary_at is None else 0
        return self.embeds[:, first:], self.mask[:, first:]


@dataclass(frozen=True)
class Context:
    """What texts are paired with: images, regions, videos, or sentences in another language.

    Patches are stored once per distinct image; a pair has the index of its image and a mask over its patches. Where an
    encoder encodes regions separately (CLIP ViT), their tokens follow those of the images, and ``whole_owner`` is the
    index of a pair's image.

    Attributes:
        tokens: ``[U, N, D]`` patches of each distinct image (video, sentence), without a summary token.
        owner: ``[B]`` long, index of each pair's image among the ``U``.
        mask: ``[B, N]`` bool, True where the pair may attend.
        summary: ``[B, D]``, the counterpart of [CLS]: the mean of the pair's patches. It is never masked.
        feat: ``[B, E]``, L2-normalised; None where it is not needed.
        summaries: ``[U, D]``, the counterpart of [CLS] of each of the ``U``; None: the mean of its patches.
        whole_owner: ``[B]`` long, index of each pair's whole image among the ``U``; None: ``owner``.
        sees_whole: Every pair attends to all of its image: its summary is that of the image, its mask from ``masks``.
        masks: ``[U, N]`` bool, the real tokens of each of the ``U``; None: all.
        host_owner: ``owner`` in main memory, an array; None: it is fetched.
        host_whole_owner: ``whole_owner`` likewise.
        source: Name of these tokens within a model's pass: requests for contexts of one name share keys and values.
            Contexts of one name must be one context, or the whole of it. None: nothing is shared.
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
    host_owner: np.ndarray | None = None
    host_whole_owner: np.ndarray | None = None
    source: str | None = None

    def __len__(self) -> int:
        return len(self.owner)

    def select(self, index: Tensor) -> "Context":
        """The contexts of the pairs at ``index``, in that order; the tokens stay shared, not copied."""
        names = ("owner", "mask", "summary", "feat", "whole_owner")
        selected = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        reset = {"host_owner": None, "host_whole_owner": None, "source": None}
        return replace(self, **{name: value[index] for name, value in selected.items()}, **reset)

    def whole(self) -> "Context":
        """The same pairs, each attending to all of its image; tokens are shared. No ``feat``: it was of the region."""
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
            host_owner=self.host_owner if self.whole_owner is None else self.host_whole_owner,
            source=self.source,
        )


@dataclass(frozen=True)
class SampledTexts:
    """Texts that the model wrote itself, for an objective that learns from them (its ``sample``).

    Attributes:
        text: ``[S, L, D]``, encoded with gradient.
        context: What each of them was written for, ``S`` pairs.
        at: ``[S, M]`` positions of the words to predict, -1 where there is none, in main memory.
        labels: ``[P]``, the words there, row by row, in main memory.
        advantages: ``[S]``, the reward of each text less its baseline.
        scalars: Further numbers for the log.
    """

    text: TextStates
    context: Context
    at: np.ndarray
    labels: np.ndarray
    advantages: Tensor
    scalars: dict[str, Tensor]


@dataclass(frozen=True)
class EncodedBatch:
    """A batch after the towers: the input of every objective. Fields that are not needed are None.

    Attributes:
        batch: The batch: labels, boxes, identities.
        text: The unmasked texts.
        masked_text: The masked texts.
        context: What the texts are paired with; None for plain text.
        temperature: Scalar, softness of the contrastive similarities (divide by it); None without contrast.
        word_embeddings: ``[V, D]``, the text encoder's input embeddings, for tied decoders.
        masked_image: Tokens ``[U, N, D]`` and summaries ``[U, D]`` of the images with hidden patches.
        samples: Texts that the model wrote for one objective; only that objective gets them.
    """

    batch: Batch
    text: TextStates | None = None
    masked_text: TextStates | None = None
    context: Context | None = None
    temperature: Tensor | None = None
    word_embeddings: Tensor | None = None
    masked_image: tuple[Tensor, Tensor] | None = None
    samples: SampledTexts | None = None

    @cached_property
    def full_context(self) -> Context:
        """The context with every pair attending to all of its image (a region mask would give a box away)."""
        return self.context.whole()

    @cached_property
    def masked_context(self) -> Context | None:
        """The context of masked texts; in parallel text the unmasked text, as the context's sentences are masked."""
        return context_of_text(self.text) if is_parallel(self.batch) else self.context


def is_parallel(batch: Batch) -> bool:
    """Whether texts are paired with the same sentences in another language."""
    return batch.context_ids is not None and batch.pixels is None


def context_of_text(text: TextStates) -> Context:
    """Texts as contexts: tokens but the first, which plays the summary (CCLM, arXiv:2206.00621)."""
    own = torch.arange(len(text.embeds), device=text.embeds.device)
    summaries, (tokens, masks) = text.summary, text.without_summary()
    return Context(
        tokens,
        own,
        masks,
        summaries,
        summaries=summaries,
        sees_whole=True,
        masks=masks,
        host_owner=np.arange(len(text.embeds)),
        source=None if text.source is None else f"{text.source} as context",
    )
