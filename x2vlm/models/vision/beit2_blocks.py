"""Blocks of BEiT-2 that skip dropped images and save fewer activations.

Shape letters: U images, N tokens, D width, H heads.
"""

from collections.abc import Callable

import torch
from timm.models import beit
from torch import Tensor, nn

from x2vlm.models.autograd.recompute import Linear, feed_forward, normed_linear, scaled_linear
from x2vlm.models.layers.attention import attend


class RelativeBlock(nn.Module):
    """timm's BEiT block, with its parts, and two optimisations that do not change the result.

    Images that stochastic depth drops are not computed (on a CPU; a GPU would have to wait for their number). Layer
    scales are multiplied into the last weights of a branch, so that no activation is saved for them.

    Args:
        block: The block, with scales.
        grid: Rows and columns of patches.
        attention: Attention backend.

    Attributes:
        casts_weights: Its operations cast each weight once under autocast, and keep the cast.
    """

    casts_weights = True

    def __init__(self, block: beit.Block, grid: tuple[int, int], attention: str) -> None:
        super().__init__()
        self.gamma_1, self.gamma_2 = block.gamma_1, block.gamma_2
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.attn = RelativeAttention(block.norm1.normalized_shape[0], block.attn.num_heads, grid, attention)
        self.drop_path1, self.drop_path2 = block.drop_path1, block.drop_path2
        self.mlp = block.mlp

    def forward(self, x: Tensor) -> Tensor:
        """``[U, 1 + N, D]`` -> the same."""
        x = add_kept(x, self._attended, self.drop_path1)
        return add_kept(x, self._fed_forward, self.drop_path2)

    def _attended(self, x: Tensor, scale: float) -> Tensor:
        mixed = self.attn.mix(normed_linear(x, self.norm1, self.attn.qkv_layer()))
        return scaled_linear(mixed, Linear(self.attn.proj.weight, self.attn.proj.bias), _times(self.gamma_1, scale))

    def _fed_forward(self, x: Tensor, scale: float) -> Tensor:
        first, second = (Linear(layer.weight, layer.bias) for layer in (self.mlp.fc1, self.mlp.fc2))
        return feed_forward(x, first, second, self.norm2, _times(self.gamma_2, scale))


class RelativeAttention(beit.Attention):
    """timm's BEiT attention, same parameters, sent through this library's attention backends."""

    def __init__(self, width: int, num_heads: int, grid: tuple[int, int], backend: str) -> None:
        super().__init__(width, num_heads, qkv_bias=True, window_size=grid)
        self.backend = backend

    def qkv_layer(self) -> Linear:
        """The projection to queries, keys and values."""
        return Linear(self.qkv.weight, torch.cat((self.q_bias, self.k_bias, self.v_bias)))

    def mix(self, qkv: Tensor) -> Tensor:
        """Queries, keys and values ``[U, 1 + N, 3 D]`` -> output of attention, ``[U, 1 + N, D]``."""
        count, length, _ = qkv.shape
        # Split before heads and tokens change places: gradients are then put together in the order of ``qkv``.
        parts = qkv.unflatten(2, (3, self.num_heads, -1)).unbind(2)
        query, key, value = (part.transpose(1, 2) for part in parts)
        mixed = attend(query, key, value, bias=self.bias(), backend=self.backend)
        return mixed.transpose(1, 2).reshape(count, length, -1)

    def forward(self, x: Tensor, shared_rel_pos_bias: Tensor | None = None) -> Tensor:
        """``[U, 1 + N, D]`` -> ``[U, 1 + N, D]``."""
        return self.proj(self.mix(nn.functional.linear(x, *self.qkv_layer())))

    def bias(self) -> Tensor:
        """``[1, H, 1 + N, 1 + N]``, the relative position bias."""
        length = self.relative_position_index.shape[0]
        # Columns of the table's transpose, not its rows: neither this nor its gradient has to be put in another order.
        flat = self.relative_position_bias_table.T.index_select(1, self.relative_position_index.view(-1))
        return flat.view(1, -1, length, length)


def add_kept(x: Tensor, branch: Callable[[Tensor, float], Tensor], drop_path: nn.Module) -> Tensor:
    """Add a residual branch with stochastic depth to ``[U, N, D]``; kept images are scaled up, as usual.

    Args:
        x: The input.
        branch: ``(x, scale) -> what to add``, times ``scale``.
        drop_path: timm's, or the identity.
    """
    rate = getattr(drop_path, "drop_prob", 0.0)
    if not drop_path.training or rate == 0:
        return x + branch(x, 1.0)
    if x.device.type != "cpu":
        return add_dropped(x, branch(x, 1 / (1 - rate)), rate)
    kept = x.new_empty(len(x), 1, 1).bernoulli_(1 - rate).flatten().nonzero().squeeze(1)
    if len(kept) == len(x):
        return x + branch(x, 1 / (1 - rate))
    if len(kept) == 0:
        return x
    added = branch(x.index_select(0, kept), 1 / (1 - rate))
    return x.index_add(0, kept, added.to(x.dtype))


def add_dropped(x: Tensor, added: Tensor, rate: float) -> Tensor:
    """``x + added`` for ``[U, N, D]``, of images that stochastic depth keeps, and ``x`` for the others."""
    kept = added.new_empty(len(added), 1, 1).bernoulli_(1 - rate)
    return x + added * kept


def _times(gamma: Tensor, scale: float) -> Tensor:
    return gamma if scale == 1 else gamma * scale
