"""Fusion: texts attend to themselves, then to their context, layer after layer.

Keys and values of a context's tokens depend on the context alone. ``project`` computes them once per distinct image and
layer; every text that looks at the image, in whatever role, reuses them.

Shape letters: B pairs, U distinct contexts, N tokens of a context, L tokens of a text, D width, H heads.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from x2vlm.models.fusion.plan import Asked, KeyValue, Plan, Reading, Source, Step
from x2vlm.models.generation.kv_cache import remembered
from x2vlm.models.layers.attention import attend
from x2vlm.models.layers.drop_path import DropPath, linear_rates
from x2vlm.models.layers.packing import Layout
from x2vlm.models.ops.recompute import Linear, feed_forward
from x2vlm.models.outputs import Context, TextStates
from x2vlm.registry import FUSION_ENCODERS
from x2vlm.weights.files import CheckpointError
from x2vlm.weights.towers import choose_layers, fusion_tensors, read_bert

Drop = Callable[[Tensor, nn.Module], Tensor]


@FUSION_ENCODERS.register_module()
class CrossAttentionFusion(nn.Module):
    """The published fusion encoder: BERT layers with cross-attention after self-attention, post-norm.

    X2-VLM (arXiv:2211.12402v1, Sec. 3.1): text features are fused with vision features at each layer.

    Args:
        width: Width of texts and of this encoder.
        context_width: Width of the context's tokens; keys and values are projected from it.
        depth: Number of layers.
        num_heads: Attention heads; derived as one per 64 of width where not given.
        mlp_width: Width of the feed-forward layer; four times ``width`` where not given.
        dropout: Probability, in training, for hidden states and for attention weights.
        layer_norm_eps: Epsilon of the layer norms.
        init_std: Standard deviation of fresh weights. BERT's 0.02 suits widths near 768; narrow encoders want more.
        init_from: Folder or name of a BERT (or RoBERTa) whose upper ``depth`` layers are copied (self-attention and
            feed-forward; cross-attention stays new). Width, heads and feed-forward must agree with it.
        init_layers: Which layers of ``init_from`` count, before the upper ones are taken: ``range(1, 24, 2)`` makes the
            12 layers of the published large models out of BERT-large. All where not given.
        detach_text: Send no gradient from here into the text encoder, which then learns from contrast and its own words
            only (X-FM, arXiv:2301.05065).
        drop_path: Stochastic depth of the last layer; earlier layers linearly less, the first one none. Where it is
            not 0 it takes the place of dropout of hidden states; that of attention weights stays.
        drop_path_unit: ``samples``, or ``positions`` as published; see
            :class:`~x2vlm.models.layers.drop_path.DropPath`.
        attention: Attention backend.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        depth: int = 6,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        dropout: float = 0.1,
        layer_norm_eps: float = 1e-12,
        init_std: float = 0.02,
        init_from: str | None = None,
        init_layers: Sequence[int] | None = None,
        detach_text: bool = False,
        drop_path: float = 0.0,
        drop_path_unit: str = "samples",
        attention: str = "auto",
    ) -> None:
        super().__init__()
        self.width, self.detach_text = width, detach_text
        num_heads = num_heads or max(1, width // 64)
        if width % num_heads:
            raise ValueError(f"fusion width {width} cannot be split in {num_heads} heads: num_heads must divide it.")
        mlp_width = mlp_width or 4 * width
        self.layer = nn.ModuleList(
            FusionLayer(width, context_width, num_heads, mlp_width, dropout, layer_norm_eps, attention)
            for _ in range(depth)
        )
        if drop_path:
            for layer, rate in zip(self.layer, linear_rates(drop_path, depth), strict=True):
                layer.set_drop_path(rate, drop_path_unit)
        self.activation_checkpointing = False
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=init_std)
                nn.init.zeros_(module.bias)
        self._copied = copy_upper_layers(self, init_from, init_layers) if init_from else set()

    def pretrained_names(self) -> set[str]:
        """Parameters that were copied from ``init_from``."""
        return self._copied

    def set_activation_checkpointing(self, on: bool) -> None:
        """Trade time for memory: recompute activations in the backward pass."""
        self.activation_checkpointing = on

    def project(self, tokens: Tensor) -> list[KeyValue]:
        """Keys and values of ``[U, N, context_width]`` tokens for every layer, ``[U, H, N, d]`` each."""
        return [layer.project(tokens) for layer in self.layer]

    def forward(
        self,
        text: TextStates,
        context: Context | None,
        memory: Sequence[KeyValue] | None = None,
        at: Tensor | int | None = None,
    ) -> Tensor:
        """Fuse each text with its context.

        Args:
            text: ``B`` texts of width ``width``.
            context: ``B`` contexts; None runs the layers without cross-attention (plain text).
            memory: ``project(context.tokens)``, if it is at hand.
            at: The tokens that are wanted, as in :class:`~x2vlm.models.fusion.plan.Reading`.

        Returns:
            ``[B, L, width]``, 0 at padding; by ``at`` ``[B, M, width]`` or ``[B, width]``.
        """
        return self.read([Reading(text, context, at=at)], [memory])[0]

    def read(self, readings: Sequence[Reading], memories: Sequence[Any] | None = None) -> list[Tensor]:
        """Read texts with contexts, all in one pass: real tokens only, keys and values once per distinct context.

        Args:
            readings: What is to be read.
            memories: For each reading ``project(context.tokens)``, or None where that is not at hand.

        Returns:
            What each reading wants, as from :meth:`forward`.
        """
        plan = Plan(readings, memories or [None] * len(readings), shares_first=not self.training)
        hidden = plan.tokens.detach() if self.detach_text else plan.tokens
        for number, (layer, step) in enumerate(zip(self.layer, plan.steps(len(self.layer)), strict=True)):
            if self.activation_checkpointing and self.training:
                hidden = checkpoint(layer, hidden, step, number, use_reentrant=False)
            else:
                hidden = layer(hidden, step, number)
        return plan.answers(hidden)


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

    def forward(self, hidden: Tensor, step: Step, number: int) -> Tensor:
        """``[T, width]`` real tokens -> those that go on.

        Args:
            hidden: The tokens.
            step: Who they are and where they may look.
            number: Of this layer, to find its part of a memory.
        """
        drop = partial(dropped, step=step)
        own = self.attention.keys_values(step.keys.pad(hidden))
        hidden = hidden if step.keep is None else hidden.index_select(0, step.keep)
        mixed = self.attention.mix(hidden, remembered(self.attention, own), step.mask, step.queries)
        hidden = self.attention.add(hidden, mixed, drop)
        hidden = hidden if step.repeat is None else hidden.index_select(0, step.repeat)
        if step.sources:
            parts = [self._ask(hidden[place], source, asked, number) for source, asked, place in step.sources]
            count = step.sources[-1][2].stop
            mixed = parts[0] if len(parts) == 1 else torch.cat(parts)
            crossed = self.crossattention.add(hidden[:count], mixed, drop)
            hidden = crossed if count == len(hidden) else torch.cat([crossed, hidden[count:]])
        return self.ffn(hidden, drop)

    def _ask(self, hidden: Tensor, source: Source, asked: Asked, number: int) -> Tensor:
        key, value = source.keys_values(self.crossattention.keys_values, number)
        if asked.pictures is not None:
            key, value = key.index_select(0, asked.pictures), value.index_select(0, asked.pictures)
        return self.crossattention.mix(hidden, (key, value), asked.mask, asked.layout)


def dropped(branch: Tensor, dropout: nn.Module, step: Step) -> Tensor:
    """What a part adds to ``[T, width]`` tokens, after dropout, or after stochastic depth by rows or positions."""
    if isinstance(dropout, DropPath):
        return dropout.packed(branch, step.rows[: len(branch)], step.positions[: len(branch)], *step.size)
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
        key, value = self.key(source), self.value(source)
        return self._split(key), self._split(value)

    def forward(self, hidden: Tensor, keys_values: KeyValue, mask: Tensor) -> Tensor:
        """``[B, L, width]`` with a mask ``[B, N]``, or ``[B, L, N]`` where each token may look elsewhere."""
        mask = mask[:, None, None] if mask.dim() == 2 else mask[:, None]
        mixed = self._attend(self._split(self.query(hidden)), keys_values, mask)
        return self.add(hidden, rearrange(mixed, "b h l d -> b l (h d)"))

    def mix(self, hidden: Tensor, keys_values: KeyValue, mask: Tensor | None, layout: Layout) -> Tensor:
        """Values that ``[T, width]`` tokens, in groups, gather from the keys and values of their group: the same shape.

        Args:
            hidden: The tokens.
            keys_values: ``[G, H, N, d]`` twice.
            mask: Bool, broadcastable to ``[G, 1, Q, N]``; None: everything.
            layout: The groups.
        """
        query = self._split(layout.pad(self.query(hidden)))
        return layout.pack(rearrange(self._attend(query, keys_values, mask), "g h q d -> g q (h d)"))

    def add(self, hidden: Tensor, mixed: Tensor, drop: Drop = padded_dropped) -> Tensor:
        """Project what was gathered, and add it to the tokens."""
        return self.LayerNorm(hidden + drop(self.dense(mixed), self.hidden_dropout))

    def _attend(self, query: Tensor, keys_values: KeyValue, mask: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        return attend(query, *keys_values, mask=mask, dropout=dropout, backend=self.backend)

    def _split(self, x: Tensor) -> Tensor:
        return rearrange(x, "b n (h d) -> b h n d", h=self.num_heads)


class FeedForward(nn.Module):
    """Two linear layers with an exact (erf) GELU between, residual and norm."""

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


def copy_upper_layers(fusion: nn.Module, bert: str, layers: Sequence[int] | None = None) -> set[str]:
    """Copy the upper layers of a pre-trained BERT into a fusion encoder; returns the names that were filled.

    Args:
        fusion: The fusion encoder, with ``layer``.
        bert: Folder, weights file or hub name.
        layers: Which layers of it count, before the upper ones are taken; all where not given.

    Raises:
        CheckpointError: If it has fewer layers, or other sizes.
    """
    tensors = read_bert(bert)
    if layers is not None:
        tensors = choose_layers(tensors, layers)
    upper = fusion_tensors(tensors, len(fusion.layer))
    wanted = fusion.state_dict()
    sizes = [
        f"{name} is {tuple(value.shape)} but {bert} has {tuple(upper[name].shape)}"
        for name, value in wanted.items()
        if name in upper and upper[name].shape != value.shape
    ]
    if sizes:
        raise CheckpointError(f"fusion_encoder.{sizes[0]}: set width, num_heads and mlp_width as in that model.")
    fusion.load_state_dict({**wanted, **upper})
    return set(upper)
