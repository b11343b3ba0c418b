"""A layer of the fusion encoder: self-attention, cross-attention and feed-forward over packed tokens.

Shape letters: T tokens, G groups of them, Q slots of a group, N keys, L tokens of a text, H heads, d width of a head.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from x2vlm.models.autograd.recompute import Linear, feed_forward
from x2vlm.models.fusion.fusion_plan import LayerInputs
from x2vlm.models.fusion.key_value_sources import CrossAttentionInputs
from x2vlm.models.layers.attention import KeyValue, attend
from x2vlm.models.layers.drop_path import DropPath
from x2vlm.models.layers.packing import Layout
from x2vlm.models.layers.precision import cast_once

Drop = Callable[[Tensor, nn.Module], Tensor]


class FusionLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; each followed by residual and norm.

    Attributes:
        forward_methods: Methods beside ``forward`` that use weights and are called from outside; sharded training
            registers them.
    """

    forward_methods: tuple[str, ...] = ("project",)

    def __init__(
        self,
        width: int,
        context_width: int,
        num_heads: int,
        mlp_width: int,
        dropout: float,
        layer_norm_eps: float,
        attention: str,
    ) -> None:
        super().__init__()
        self.attention = Attention(width, width, num_heads, dropout, layer_norm_eps, attention)
        self.crossattention = Attention(width, context_width, num_heads, dropout, layer_norm_eps, attention)
        self.ffn = FeedForward(width, mlp_width, dropout, layer_norm_eps)

    def set_drop_path(self, rate: float, unit: str) -> None:
        """Use stochastic depth in place of dropout of hidden states."""
        for part in (self.attention, self.crossattention, self.ffn):
            part.hidden_dropout = DropPath(rate, unit)

    def project(self, source: Tensor) -> KeyValue:
        """Keys and values of a context's tokens, for cross-attention."""
        return self.crossattention.keys_values(source)

    def forward(self, hidden: Tensor, inputs: LayerInputs, number: int) -> Tensor:
        """``[T, width]`` packed tokens -> the states of the query tokens.

        Args:
            hidden: The tokens.
            inputs: Their layouts, masks and indices.
            number: Index of this layer, for keys and values that were projected before.
        """
        drop = partial(dropped, inputs=inputs)
        read = cast_once(hidden)
        keys_values = self.attention.packed_keys_values(read, inputs.key_layout)
        if inputs.keep is not None:
            hidden, read = hidden.index_select(0, inputs.keep), read.index_select(0, inputs.keep)
        query = self.attention.query_heads(read)
        mixed = self.attention.attend(inputs.query_layout.pad(query).transpose(1, 2), keys_values, inputs.attn_mask)
        hidden = self.attention.add(hidden, inputs.query_layout.pack(mixed), drop)
        hidden = hidden if inputs.repeat is None else hidden.index_select(0, inputs.repeat)
        if inputs.cross_attention is not None:
            hidden = self._cross_attend(hidden, inputs.cross_attention, number, drop)
        return self.ffn(hidden, drop)

    def _cross_attend(self, hidden: Tensor, inputs: CrossAttentionInputs, number: int, drop: Drop) -> Tensor:
        """Cross-attention of the tokens with a context, source by source."""
        queries = hidden[: inputs.count]
        padded = inputs.layout.pad(self.crossattention.query_heads(queries)).squeeze(1)
        mixed, start = [], 0
        for source, groups in zip(inputs.sources, inputs.groups, strict=True):
            stop = start + groups.groups * groups.size
            query = padded[start:stop].unflatten(0, (groups.groups, groups.size)).transpose(1, 2)
            keys_values = groups.select_images(source.project(self.crossattention.keys_values, number))
            mixed.append(self.crossattention.attend(query, keys_values, groups.attn_mask).flatten(0, 1))
            start = stop
        mixed = inputs.layout.pack((mixed[0] if len(mixed) == 1 else torch.cat(mixed))[:, None])
        queries = self.crossattention.add(queries, mixed, drop)
        return queries if len(queries) == len(hidden) else torch.cat([queries, hidden[inputs.count :]])


def dropped(branch: Tensor, dropout: nn.Module, inputs: LayerInputs) -> Tensor:
    """Dropout, or stochastic depth by rows or positions, of a residual branch ``[T, width]``."""
    if isinstance(dropout, DropPath):
        rows, positions = inputs.rows[: len(branch)], inputs.positions[: len(branch)]
        return dropout.packed(branch, rows, positions, *inputs.size)
    return dropout(branch)


def padded_dropped(branch: Tensor, dropout: nn.Module) -> Tensor:
    """Dropout or stochastic depth of a residual branch ``[B, L, width]``."""
    return dropout(branch)


class Attention(nn.Module):
    """Multi-head attention with output projection, residual and norm."""

    def __init__(
        self, width: int, source_width: int, num_heads: int, dropout: float, layer_norm_eps: float, backend: str
    ) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(source_width, width)
        self.value = nn.Linear(source_width, width)
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.num_heads, self.dropout, self.backend = num_heads, dropout, backend
        self.hidden_dropout: nn.Module = nn.Dropout(dropout)

    def keys_values(self, source: Tensor) -> KeyValue:
        """``[..., N, source_width]`` -> keys and values ``[..., H, N, d]``."""
        source = cast_once(source)
        key, value = self.key(source), self.value(source)
        return tuple(each.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3) for each in (key, value))

    def query_heads(self, hidden: Tensor) -> Tensor:
        """``[..., width]`` -> queries ``[..., H, d]``."""
        return self.query(hidden).unflatten(-1, (self.num_heads, -1))

    def packed_keys_values(self, hidden: Tensor, layout: Layout) -> KeyValue:
        """Keys and values of ``[T, width]`` tokens, those of a text together: ``[G, H, S, d]`` each."""
        both = (layer(hidden).unflatten(-1, (self.num_heads, -1)) for layer in (self.key, self.value))
        return tuple(layout.pad(each).transpose(1, 2) for each in both)

    def forward(self, hidden: Tensor, keys_values: KeyValue, mask: Tensor) -> Tensor:
        """``[B, L, width]`` with a mask ``[B, N]``, or ``[B, L, N]``."""
        mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
        return self.add(hidden, self.attend(self.query_heads(hidden).transpose(1, 2), keys_values, mask))

    def attend(self, query: Tensor, keys_values: KeyValue, mask: Tensor | None) -> Tensor:
        """Attention of ``[G, H, Q, d]`` queries to the keys and values of their group: ``[G, Q, width]``.

        Args:
            query: The queries.
            keys_values: ``[G, H, N, d]`` twice.
            mask: Bool, broadcastable to ``[G, 1, Q, N]``; None: no mask.
        """
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, *keys_values, mask=mask, dropout=dropout, backend=self.backend, ragged=True)
        return mixed.transpose(1, 2).flatten(2)

    def add(self, hidden: Tensor, mixed: Tensor, drop: Drop = padded_dropped) -> Tensor:
        """Output projection, residual and norm."""
        return self.LayerNorm(hidden + drop(self.dense(mixed), self.hidden_dropout))


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU between, residual and norm.

    Attributes:
        casts_weights: Its operation casts each weight once under autocast, and keeps the cast.
    """

    casts_weights = True

    def __init__(self, width: int, mlp_width: int, dropout: float, layer_norm_eps: float) -> None:
        super().__init__()
        self.intermediate = nn.Linear(width, mlp_width)
        self.output = nn.Linear(mlp_width, width)
        self.LayerNorm = nn.LayerNorm(width, eps=layer_norm_eps)
        self.hidden_dropout: nn.Module = nn.Dropout(dropout)

    def forward(self, hidden: Tensor, drop: Drop = padded_dropped) -> Tensor:
        first, second = (Linear(layer.weight, layer.bias) for layer in (self.intermediate, self.output))
        out = feed_forward(hidden, first, second)
        return self.LayerNorm(hidden + drop(out, self.hidden_dropout))
