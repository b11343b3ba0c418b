"""Encoded contexts and texts of several batches, concatenated, padded or moved to main memory.

Shape letters: T texts, S tokens of all texts, L tokens of the longest text, D width.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from x2vlm.models.outputs import Context, TextStates

Encoded = TypeVar("Encoded", Context, TextStates)


def to_cpu(encoded: Encoded) -> Encoded:
    """A context or texts with every tensor in main memory."""
    return replace(encoded, **{name: value.cpu() for name, value in vars(encoded).items() if isinstance(value, Tensor)})


def join_texts(texts: Sequence[TextStates]) -> TextStates:
    """Concatenate the texts of several batches, padded to the longest."""
    length = max(text.mask.shape[1] for text in texts)
    return TextStates(
        embeds=torch.cat([pad(text.embeds, (0, 0, 0, length - text.embeds.shape[1])) for text in texts]),
        mask=torch.cat([pad(text.mask, (0, length - text.mask.shape[1]), value=False) for text in texts]),
        feat=None if texts[0].feat is None else torch.cat([text.feat for text in texts]),
    )


def join_contexts(contexts: Sequence[Context]) -> Context:
    """Concatenate the contexts of several batches; shorter ones (sentences) are padded."""
    length = max(context.tokens.shape[1] for context in contexts)
    counts = torch.tensor([len(context.tokens) for context in contexts])
    offsets = (counts.cumsum(0) - counts).tolist()
    return Context(
        tokens=torch.cat([pad(context.tokens, (0, 0, 0, length - context.tokens.shape[1])) for context in contexts]),
        owner=torch.cat([context.owner + offset for context, offset in zip(contexts, offsets, strict=True)]),
        mask=torch.cat([pad(context.mask, (0, length - context.mask.shape[1]), value=False) for context in contexts]),
        summary=torch.cat([context.summary for context in contexts]),
    )


def pad_text_embeds(embeds: Tensor, lengths: Tensor) -> TextStates:
    """Pad text embeddings that are stored without padding.

    Args:
        embeds: ``[S, D]``, the embeddings of all texts, concatenated.
        lengths: ``[T]`` long, tokens of each text; their sum is ``S``.

    Returns:
        Embeddings ``[T, L, D]``, 0 in the padding, and their mask.
    """
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    padded = embeds.new_zeros(*mask.shape, embeds.shape[1])
    padded[mask] = embeds
    return TextStates(padded, mask)
