"""EfficientNet-Lite with fixed weights below a few trained layers; what the fixed part computes can be stored."""

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from plugins.real_towers.vision import pretrained_classifier
from x2vlm.registry import VISION_ENCODERS

FINE, COARSE = 3, 4  # stages of stride 16 and 32


@VISION_ENCODERS.register_module()
class FrozenEfficientNetLite(nn.Module):
    """Fixed features of EfficientNet-Lite (arXiv:1905.11946) on a grid of stride 32, and trained layers on them.

    A cell holds the four cells of stride 16 within it, side by side, so that boxes can be finer than the grid, and the
    features that the classifier reads. A linear layer brings them to ``width``; sine-cosine positions are added;
    ``depth`` transformer layers follow.

    ``forward`` takes images, or what :meth:`features` made of them once: an epoch over stored features costs a
    hundredth of one over images.

    Args:
        variant: 0, 1 or 2: which network.
        image_size: Side of the square images, a multiple of 32.
        width: Width of the tokens, a multiple of 64.
        depth: Trained transformer layers on the cells; 0 leaves each cell by itself, for half of the time.
        dropout: On the features, and within the layers.

    Raises:
        ImportError: If the package with the weights is not installed.
        ValueError: If a size does not fit, or there is no such variant.
    """

    def __init__(
        self, variant: int = 2, image_size: int = 224, width: int = 384, depth: int = 0, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if image_size % 32:
            raise ValueError(f"FrozenEfficientNetLite: image_size is {image_size}, but must be a multiple of 32.")
        if width % 64:
            raise ValueError(f"FrozenEfficientNetLite: width is {width}, but must be a multiple of 64.")
        self.width, self.image_size = width, (image_size, image_size)
        self.grid = (image_size // 32, image_size // 32)
        self.name = f"tf_efficientnet_lite{variant}"
        self.net = pretrained_classifier(variant).requires_grad_(False).eval()
        self.net.classifier = nn.Identity()
        channels = [self.net.feature_info[stage]["num_chs"] for stage in (FINE, COARSE)]
        self.channels = 4 * channels[0] + channels[1]
        self.coarse_channels = channels[1]
        cell = 4 * channels[0] + self.net.num_features
        self.normalize = nn.LayerNorm(cell)
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Sequential(nn.Linear(cell, width), nn.GELU(), nn.Linear(width, width))
        positions = build_sincos2d_pos_embed(list(self.grid), dim=width, interleave_sin_cos=True)  # [N, width]
        self.register_buffer("positions", positions, persistent=False)
        layers = [Block(width, width // 64, proj_drop=dropout, init_values=None) for _ in range(depth)]
        self.layers = nn.Sequential(*layers, nn.LayerNorm(width))

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """``[U, 3, H, W]`` images -> ``[U, C, h, w]``, what the fixed network computes of them at stride 32."""
        fine, coarse = self.net.forward_intermediates(images, indices=[FINE, COARSE], intermediates_only=True)
        return torch.cat([nn.functional.pixel_unshuffle(fine, 2), coarse], dim=1)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Encode ``[U, 3, H, W]`` images, or their features ``[U, C, h, w]``, to ``[U, N, D]`` tokens, row by row."""
        stored = self.features(images) if images.shape[1] == 3 else images
        fine, coarse = stored.split([stored.shape[1] - self.coarse_channels, self.coarse_channels], dim=1)
        with torch.no_grad():
            head = self.net.bn2(self.net.conv_head(coarse))  # with its activation
        cells = torch.cat([fine, head], dim=1).flatten(2).transpose(1, 2)
        tokens = self.project(self.dropout(self.normalize(cells))) + self.positions
        return self.layers(tokens), None

    def train(self, mode: bool = True) -> "FrozenEfficientNetLite":
        """Like every module's, but the fixed network stays as it is."""
        super().train(mode)
        self.net.eval()
        return self

    def set_activation_checkpointing(self, on: bool) -> None:
        """Nothing of the fixed network is kept for the backward pass; the few layers above are small."""

    def pretrained_names(self) -> set[str]:
        """The fixed network; all else is new."""
        return {f"net.{name}" for name, _ in self.net.named_parameters()}
