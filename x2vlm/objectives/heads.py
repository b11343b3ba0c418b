"""The published head of matching, boxes and classes."""

from torch import nn


def two_layer_head(width: int, out_dim: int) -> nn.Sequential:
    """Linear to twice the width, norm, GELU, linear: the published head of matching, boxes and classes."""
    return nn.Sequential(nn.Linear(width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, out_dim))
