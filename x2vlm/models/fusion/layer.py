"""A layer of the fusion encoder: self-attention, cross-attention and feed-forward over packed tokens.

Shape letters: T tokens, G groups of them, Q places of a group, N keys, L tokens of a text, H heads, d width of a head.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from x2vlm.models.fusion.fusion_plan import LayerInputs
from x2vlm.models.fusion.key_value_sources import LayerSources
from x2vlm.models.fusion.requests import KeyValue
from x2vlm.models.layers.attention import attend
from x2vlm.models.layers.drop_path import DropPath
from x2vlm.models.layers.packing import Layout
from x2vlm.models.layers.precision import cast_once
from x2vlm.models.ops.recompute import Linear, feed_forward

Drop = Callable[[Tensor, nn.Module], Tensor]


class FusionLayer(nn.Module):
    """Self-attention, cross-attention, feed-forward; each followed by residual and norm.

    Attributes:
        forward_methods: Methods that use weights and are called from outside, beside ``forward``; sharded training has
            to know.
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
        """Drop what each part adds, instead of single hidden values."""
        for part in (self.attention, self.crossattention, self.ffn):
            part.hidden_dropout = DropPath(rate, unit)

    def project(self, source: Tensor) -> KeyValue:
        """Keys and values of a context's tokens, for cross-attention."""
        return self.crossattention.keys_values(source)

    def forward(self, hidden: Tensor, inputs: LayerInputs, number: int) -> Tensor:
        """``[T, width]`` real tokens -> those that go on.

        Args:
            hidden: The tokens.
            inputs: Who they are and where they may look.
            number: Of this layer, to find its keys and values where they are at hand.
        """
        drop = partial(dropped, inputs=inputs)
        read = cast_once(hidden)
        keys_values = self.attention.packed_keys_values(read, inputs.keys)
        if inputs.keep is not None:
            hidden, read = hidden.index_select(0, inputs.keep), read.index_select(0, inputs.keep)
        query = self.attention.query_heads(read)
        mixed = self.attention.attend(inputs.queries.pad(query).transpose(1, 2), keys_values, inputs.mask)
        hidden = self.attention.add(hidden, inputs.queries.pack(mixed), drop)
        hidden = hidden if inputs.repeat is None else hidden.index_select(0, inputs.repeat)
        if inputs.sources is not None:
            hidden = self._look(hidden, inputs.sources, number, drop)
        return self.ffn(hidden, drop)

    def _look(self, hidden: Tensor, looking: LayerSources, number: int, drop: Drop) -> Tensor:
        """Cross-attention of the tokens that have a context, group by group."""
        front = hidden[: looking.count]
        places = looking.layout.pad(self.crossattention.query_heads(front)).squeeze(1)
        mixed, start = [], 0
        for source, groups in zip(looking.sources, looking.groups, strict=True):
            stop = start + groups.groups * groups.size
            query = places[start:stop].unflatten(0, (groups.groups, groups.size)).transpose(1, 2)
            keys_values = groups.of_images(source.project(self.crossattention.keys_values, number))
            mixed.append(self.crossattention.attend(query, keys_values, groups.mask).flatten(0, 1))
            start = stop
        mixed = looking.layout.pack((mixed[0] if len(mixed) == 1 else torch.cat(mixed))[:, None])
        front = self.crossattention.add(front, mixed, drop)
        return front if len(front) == len(hidden) else torch.cat([front, hidden[looking.count :]])


def dropped(branch: Tensor, dropout: nn.Module, inputs: LayerInputs) -> Tensor:
    """What a part adds to ``[T, width]`` tokens, after dropout, or after stochastic depth by rows or positions."""
    if isinstance(dropout, DropPath):
        rows, positions = inputs.rows[: len(branch)], inputs.positions[: len(branch)]
        return dropout.packed(branch, rows, positions, *inputs.size)
    return dropout(branch)


def padded_dropped(branch: Tensor, dropout: nn.Module) -> Tensor:
    """The same of ``[B, L, width]``."""
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
        """``[B, L, width]`` with a mask ``[B, N]``, or ``[B, L, N]`` where each token may look elsewhere."""
        mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
        return self.add(hidden, self.attend(self.query_heads(hidden).transpose(1, 2), keys_values, mask))

    def attend(self, query: Tensor, keys_values: KeyValue, mask: Tensor | None) -> Tensor:
        """What ``[G, H, Q, d]`` queries gather from the keys and values of their group: ``[G, Q, width]``.

        Args:
            query: The queries.
            keys_values: ``[G, H, N, d]`` twice.
            mask: Bool, broadcastable to ``[G, 1, Q, N]``; None: everything.
        """
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, *keys_values, mask=mask, dropout=dropout, backend=self.backend, ragged=True)
        return mixed.transpose(1, 2).flatten(2)

    def add(self, hidden: Tensor, mixed: Tensor, drop: Drop = padded_dropped) -> Tensor:
        """Project what was gathered, and add it to the tokens."""
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
