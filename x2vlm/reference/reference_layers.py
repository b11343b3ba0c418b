"""Layers of the reference path: explicit softmax attention on padded inputs, no sharing of computation.

The weights are those of the library's own modules, which are only read here.

Shape letters: B rows, L queries, N keys, H heads, D width.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from x2vlm.models.fusion.layer import FusionLayer

TEXT_FORBIDDEN = -10000.0
CONTEXT_FORBIDDEN = -1e9


def softmax_attention(
    query: Tensor, key: Tensor, value: Tensor, num_heads: int, added: Tensor | None, dropout: float
) -> Tensor:
    """Attention with all its weights held in memory.

    Args:
        query: ``[B, L, D]``, projected.
        key: ``[B, N, D]``, projected.
        value: ``[B, N, D]``, projected.
        num_heads: Heads that the width is split in.
        added: Added to the logits, broadcastable to ``[B, H, L, N]``.
        dropout: Probability with which a weight is dropped; 0 outside training.

    Returns:
        ``[B, L, D]``.
    """
    query, key, value = (part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in (query, key, value))
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if added is not None:
        logits = logits + added
    weights = F.dropout(logits.softmax(dim=-1), dropout, training=dropout > 0)
    return (weights @ value).transpose(1, 2).flatten(2)


def additive_mask(mask: Tensor, value: float) -> Tensor:
    """``[B, N]`` or ``[B, L, N]`` bool, True where attention is allowed -> what is added to ``[B, H, L, N]`` logits."""
    mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
    return (~mask).float() * value


def vision_block(block: nn.Module, x: Tensor) -> Tensor:
    """A block of BEiT-2: ``[B, 1 + N, D]`` -> the same."""
    attention, normed = block.attn, block.norm1(x)
    query, key, value = F.linear(normed, attention.qkv.weight).chunk(3, dim=-1)
    bias = attention._get_rel_pos_bias()
    mixed = softmax_attention(query + attention.q_bias, key, value + attention.v_bias, attention.num_heads, bias, 0.0)
    x = x + block.drop_path1(block.gamma_1 * attention.proj(mixed))
    return x + block.drop_path2(block.gamma_2 * block.mlp(block.norm2(x)))


def text_layer(layer: nn.Module, hidden: Tensor, added: Tensor, source: Tensor | None = None) -> Tensor:
    """A layer of BERT: ``[B, L, D]`` -> the same. Keys and values come from ``source``, ``hidden`` where not given."""
    source = hidden if source is None else source
    attention, out = layer.attention.self, layer.attention.output
    dropout = attention.dropout.p if layer.training else 0.0
    projected = attention.query(hidden), attention.key(source), attention.value(source)
    mixed = softmax_attention(*projected, attention.num_attention_heads, added, dropout)
    hidden = out.LayerNorm(hidden + out.dropout(out.dense(mixed)))
    return layer.output.LayerNorm(hidden + layer.output.dropout(layer.output.dense(layer.intermediate(hidden))))


def attend_and_add(part: nn.Module, hidden: Tensor, source: Tensor, added: Tensor) -> Tensor:
    """Attention of a fusion layer, its keys and values projected anew from ``source`` ``[B, N, C]``."""
    dropout = part.dropout if part.training else 0.0
    mixed = softmax_attention(part.query(hidden), part.key(source), part.value(source), part.num_heads, added, dropout)
    return part.LayerNorm(hidden + part.hidden_dropout(part.dense(mixed)))


def fusion_layer(
    layer: FusionLayer,
    hidden: Tensor,
    added: Tensor,
    context: Tensor | None,
    context_added: Tensor | None,
    source: Tensor | None = None,
) -> Tensor:
    """A fusion layer: every row of ``hidden`` ``[B, L, D]`` has its own context ``[B, 1 + N, C]``.

    Keys and values of self-attention come from ``source``, ``hidden`` where not given.
    """
    hidden = attend_and_add(layer.attention, hidden, hidden if source is None else source, added)
    if context is not None:
        hidden = attend_and_add(layer.crossattention, hidden, context, context_added)
    part = layer.ffn  # only its weights: its own forward saves less for the backward pass than the reference does
    inner = F.gelu(part.intermediate(hidden))
    return part.LayerNorm(hidden + part.hidden_dropout(part.output(inner)))
