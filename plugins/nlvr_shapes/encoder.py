"""A small vision encoder for drawn shapes: convolutions down to cells of 20 pixels, then a few transformer layers."""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from x2vlm.registry import VISION_ENCODERS

CELL = 20


@VISION_ENCODERS.register_module()
class ConvStemEncoder(nn.Module):
    """Four convolutions with overlapping windows, then ``depth`` pre-norm transformer layers over cells of 20 pixels.

    A linear layer over raw patches has to learn every shape at every offset within its patch; convolutions share what
    they learn (arXiv:2106.14881 finds the same of stems in general).

    Args:
        image_size: (rows, columns) of pixels, multiples of 20.
        width: Width of the tokens, a multiple of 4 and of ``num_heads``.
        depth: Number of transformer layers.
        num_heads: Heads of a layer.
        channels: Channels of the first two and of the third convolution.

    Raises:
        ValueError: If a size is not such a multiple.
    """

    def __init__(
        self,
        image_size: tuple[int, int] = (100, 340),
        width: int = 128,
        depth: int = 2,
        num_heads: int = 4,
        channels: tuple[int, int] = (32, 64),
    ) -> None:
        super().__init__()
        if any(side < CELL or side % CELL for side in image_size):
            raise ValueError(f"ConvStemEncoder: image_size is {tuple(image_size)}; expected multiples of {CELL}")
        if width % 4 or width % num_heads:
            raise ValueError(f"ConvStemEncoder: width is {width}; expected a multiple of 4 and of {num_heads} heads")
        self.width, self.image_size = width, tuple(image_size)
        self.grid = tuple(side // CELL for side in image_size)
        fine, coarse = channels
        self.stem = nn.Sequential(
            nn.Conv2d(3, fine, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(fine, coarse, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(coarse, coarse, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(coarse, width, 5, stride=5),
        )
        for layer in self.stem[::2]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        self.norm_stem = nn.LayerNorm(width)
        positions = build_sincos2d_pos_embed(list(self.grid), dim=width, interleave_sin_cos=True)  # [N, width]
        self.positions = nn.Parameter(positions.clone())
        self.layers = nn.ModuleList(Block(width, num_heads, qkv_bias=True) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Encode ``[U, 3, H, W]`` images to ``[U, N, D]`` tokens, row by row; there is no summary of its own."""
        images = images.to(memory_format=torch.channels_last)
        tokens = self.norm_stem(self.stem(images).flatten(2).transpose(1, 2)) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens), None
