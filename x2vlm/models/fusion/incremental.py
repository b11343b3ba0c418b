"""Incremental fusion of texts that are generated token by token, several beams for each context.

Shape letters: B contexts, R partial texts, t tokens that are new, T tokens so far, N tokens of a context, H heads,
d width of a head, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.layers.attention import KeyValue
from x2vlm.models.outputs import Context, TextStates


class ProjectedContext(NamedTuple):
    """Keys and values of contexts, for cross-attention of partial texts.

    Attributes:
        keys_values: For every layer keys and values ``[B, H, 1 + N, d]`` of summary and tokens.
        key_mask: ``[B, 1 + N]`` bool, True where attention is allowed.
    """

    keys_values: Sequence[KeyValue]
    key_mask: Tensor


def project_context(fusion: CrossAttentionFusion, context: Context) -> ProjectedContext:
    """Keys and values of contexts for every layer; tokens that several contexts share are projected once."""
    attentions = [layer.crossattention for layer in fusion.layer]
    summary, owner = context.summary[:, None], context.owner
    mask = torch.nn.functional.pad(context.mask, (1, 0), value=True)  # the summary is never masked
    if len(context) <= len(context.tokens):
        tokens = torch.cat([summary, context.tokens[owner]], dim=1)
        return ProjectedContext([attention.keys_values(tokens) for attention in attentions], mask)
    parts = [(attention.keys_values(summary), attention.keys_values(context.tokens)) for attention in attentions]
    joined = [
        tuple(torch.cat([s, t[owner]], dim=2) for s, t in zip(*parts_of_layer, strict=True)) for parts_of_layer in parts
    ]
    return ProjectedContext(joined, mask)


def fuse_next(fusion: CrossAttentionFusion, text: TextStates, context: ProjectedContext, cache: KVCache) -> Tensor:
    """Fuse the next tokens of partial texts.

    Args:
        fusion: The fusion encoder.
        text: ``[R, t, D]``, the new tokens, with a mask ``[R, t, T]`` of all tokens so far. Texts of one context are
            neighbours, equally many of each.
        context: Of :func:`project_context`.
        cache: Keys and values of earlier tokens; is extended.

    Returns:
        ``[R, D]``, the state of the last token of each text.
    """
    hidden, mask = text.embeds, text.mask
    for layer, keys_values in zip(fusion.layer, context.keys_values, strict=True):
        own_keys_values = cache.extend(layer.attention, layer.attention.keys_values(hidden))
        if layer is fusion.layer[-1]:
            hidden, mask = hidden[:, -1:], mask[:, -1:]
        hidden = layer.attention(hidden, own_keys_values, mask)
        # The texts of a context attend to it as one row of tokens: its keys and values are not copied.
        rows = hidden.reshape(len(context.key_mask), -1, hidden.shape[-1])
        hidden = layer.ffn(layer.crossattention(rows, keys_values, context.key_mask).view_as(hidden))
    return hidden[:, -1]
