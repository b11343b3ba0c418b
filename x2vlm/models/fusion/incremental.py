"""Fusion of texts that grow token by token, several of them (beams) for each context.

Shape letters: B contexts, R texts under way, t tokens that are new, T tokens so far, N tokens of a context, H heads,
d width of a head, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from x2vlm.models.fusion.encoder import CrossAttentionFusion, KeyValue
from x2vlm.models.generation.kv_cache import remembered
from x2vlm.models.outputs import Context, TextStates


def look_at(fusion: CrossAttentionFusion, context: Context) -> tuple[list[KeyValue], Tensor]:
    """What every layer looks at: keys and values ``[B, H, 1 + N, d]`` of summary and tokens, and ``[B, 1 + N]`` bool.

    Tokens that several contexts share are projected once.
    """
    attentions = [layer.crossattention for layer in fusion.layer]
    summary, owner = context.summary[:, None], context.owner
    sees = torch.nn.functional.pad(context.mask, (1, 0), value=True)  # the summary is always seen
    if len(context) <= len(context.tokens):
        whole = torch.cat([summary, context.tokens[owner]], dim=1)
        return [attention.keys_values(whole) for attention in attentions], sees
    parts = [(attention.keys_values(summary), attention.keys_values(context.tokens)) for attention in attentions]
    return [tuple(torch.cat([s, t[owner]], dim=2) for s, t in zip(*both, strict=True)) for both in parts], sees


def fuse_on(fusion: CrossAttentionFusion, text: TextStates, memory: Sequence[KeyValue], sees: Tensor) -> Tensor:
    """Read the next tokens of texts; the last one is what is asked for.

    Args:
        fusion: The fusion encoder.
        text: ``[R, t, D]``, the new tokens, with a mask ``[R, t, T]`` of all tokens so far. Texts of one context are
            neighbours, equally many of each.
        memory: Of ``look_at``.
        sees: Of ``look_at``.

    Returns:
        ``[R, D]``: of each text its last token.
    """
    hidden, mask = text.embeds, text.mask
    for layer, looked_at in zip(fusion.layer, memory, strict=True):
        own = remembered(layer.attention, layer.attention.keys_values(hidden))
        if layer is fusion.layer[-1]:
            hidden, mask = hidden[:, -1:], mask[:, -1:]
        hidden = layer.attention(hidden, own, mask)
        # The texts of a context look at it together, as one row of tokens: nothing of it is copied.
        asked = hidden.reshape(len(sees), -1, hidden.shape[-1])
        hidden = layer.ffn(layer.crossattention(asked, looked_at, sees).view_as(hidden))
    return hidden[:, -1]
