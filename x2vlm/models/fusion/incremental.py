"""Fusion of texts that grow token by token, several of them (beams) for each context.

Shape letters: B contexts, R texts under way, t tokens that are new, T tokens so far, N tokens of a context, H heads,
d width of a head, D width.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.fusion.requests import KeyValue
from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.outputs import Context, TextStates


class ProjectedContext(NamedTuple):
    """What texts under way look at.

    Attributes:
        keys_values: For every layer keys and values ``[B, H, 1 + N, d]`` of summary and tokens.
        mask: ``[B, 1 + N]`` bool, what there is to see.
    """

    keys_values: Sequence[KeyValue]
    mask: Tensor


def project_context(fusion: CrossAttentionFusion, context: Context) -> ProjectedContext:
    """Keys and values of contexts for every layer; tokens that several contexts share are projected once."""
    attentions = [layer.crossattention for layer in fusion.layer]
    summary, owner = context.summary[:, None], context.owner
    mask = torch.nn.functional.pad(context.mask, (1, 0), value=True)  # the summary is always seen
    if len(context) <= len(context.tokens):
        whole = torch.cat([summary, context.tokens[owner]], dim=1)
        return ProjectedContext([attention.keys_values(whole) for attention in attentions], mask)
    parts = [(attention.keys_values(summary), attention.keys_values(context.tokens)) for attention in attentions]
    joined = [tuple(torch.cat([s, t[owner]], dim=2) for s, t in zip(*both, strict=True)) for both in parts]
    return ProjectedContext(joined, mask)


def fuse_next(fusion: CrossAttentionFusion, text: TextStates, context: ProjectedContext, cache: KVCache) -> Tensor:
    """Read the next tokens of texts.

    Args:
        fusion: The fusion encoder.
        text: ``[R, t, D]``, the new tokens, with a mask ``[R, t, T]`` of all tokens so far. Texts of one context are
            neighbours, equally many of each.
        context: Of :func:`project_context`.
        cache: What was read before; is extended.

    Returns:
        ``[R, D]``: of each text its last token.
    """
    hidden, mask = text.embeds, text.mask
    for layer, keys_values in zip(fusion.layer, context.keys_values, strict=True):
        own = cache.extend(layer.attention, layer.attention.keys_values(hidden))
        if layer is fusion.layer[-1]:
            hidden, mask = hidden[:, -1:], mask[:, -1:]
        hidden = layer.attention(hidden, own, mask)
        # The texts of a context look at it together, as one row of tokens: nothing of it is copied.
        rows = hidden.reshape(len(context.mask), -1, hidden.shape[-1])
        hidden = layer.ffn(layer.crossattention(rows, keys_values, context.mask).view_as(hidden))
    return hidden[:, -1]
