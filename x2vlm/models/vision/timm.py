"""Any timm backbone that yields a grid of tokens, through one adapter."""

from typing import Any

import timm
import torch
from timm.layers import build_sincos2d_pos_embed
from torch import Tensor, nn

from x2vlm.models.vision.cell_check import check_cells
from x2vlm.models.vision.vision_weights import load_weights
from x2vlm.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class TimmVisionEncoder(nn.Module):
    """A timm model's final grid of features as tokens: ViT, CLIP, SigLIP, DINOv2, Swin, ConvNeXt, EfficientNet, ...

    Args:
        name: timm's name of the model, e.g. ``vit_base_patch16_clip_224``.
        image_size: Height and width of the images, one number or two.
        pretrained: Fetch timm's weights for ``name`` (needs a network, or timm's cache).
        checkpoint: A local weights file instead.
        sincos: Replace learned positions by fixed two-dimensional sine-cosine ones at full magnitude (ViT-like models
            only). A small model trained from nothing learns to point far sooner with these.
        options: Further arguments of timm's model (``depth``, ``embed_dim``, ``drop_path_rate``, ...).

    Raises:
        ValueError: If timm has no such model, it does not yield a grid, or its grid does not divide the image evenly.
    """

    def __init__(
        self,
        name: str,
        image_size: int | tuple[int, int] = 224,
        pretrained: bool = False,
        checkpoint: str | None = None,
        sincos: bool = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        self.net = _create(name, self.image_size, pretrained, dict(options or {}))
        self._loaded = set(dict(self.net.named_parameters())) if pretrained else set()
        if checkpoint:
            self._loaded = load_weights(self.net, checkpoint, drop=("head.", "classifier.", "head_dist."))
        with torch.no_grad():
            was_training = self.net.training
            features = self._grid_features(self.net.eval(), torch.zeros(1, 3, *self.image_size))
            self.net.train(was_training)
        if features.dim() != 4:
            raise ValueError(f"timm's {name} yields features of {tuple(features.shape)}, not a grid [B, D, h, w].")
        self.width: int = features.shape[1]
        self.grid: tuple[int, int] = tuple(features.shape[2:])
        if not hasattr(self.net, "img_size_scaled"):  # CrossViT resizes the image to whole patches by itself
            check_cells(self.image_size, self.grid, _cell(self.net, self.image_size, self.grid), f"timm's {name}")
        if sincos:
            self._fix_positions(name)

    def pretrained_names(self) -> set[str]:
        """Parameters that came with weights."""
        return {f"net.{name}" for name in self._loaded}

    def set_activation_checkpointing(self, on: bool) -> None:
        """Recompute activations in the backward pass, to save memory."""
        self.net.set_grad_checkpointing(on)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """``[U, 3, H, W]`` -> tokens ``[U, N, D]`` in row-major order of the grid; no summary of its own.

        Raises:
            ValueError: If the images have another size than ``image_size``.
        """
        if tuple(images.shape[2:]) != self.image_size:
            given, made_for = (" x ".join(map(str, size)) for size in (images.shape[2:], self.image_size))
            raise ValueError(
                f"images are {given} but the vision encoder was made for {made_for}. Set vision_encoder.image_size and "
                "the size in the pipeline to the same."
            )
        return self._grid_features(self.net, images).flatten(2).transpose(1, 2), None

    @staticmethod
    def _grid_features(net: nn.Module, images: Tensor) -> Tensor:
        if not hasattr(net, "forward_intermediates"):
            raise ValueError(f"timm's {type(net).__name__} yields no grid of features (no forward_intermediates).")
        features = net.forward_intermediates(
            images, indices=1, output_fmt="NCHW", intermediates_only=True, norm=_has_norm(net)
        )
        return features[-1]

    def _fix_positions(self, name: str) -> None:
        positions = getattr(self.net, "pos_embed", None)
        if not isinstance(positions, nn.Parameter):
            raise ValueError(
                f"sincos positions need a model with absolute positions; {name} has none. Leave sincos out."
            )
        fixed = build_sincos2d_pos_embed(list(self.grid), dim=self.width, interleave_sin_cos=True)
        with torch.no_grad():
            positions.zero_()[0, positions.shape[1] - len(fixed) :] = fixed
        positions.requires_grad_(False)


def _create(name: str, image_size: tuple[int, int], pretrained: bool, options: dict[str, Any]) -> nn.Module:
    if not timm.is_model(name):
        raise ValueError(f"timm has no model '{name}'. Close names: {', '.join(_close_names(name)) or 'none'}.")
    options = {"num_classes": 0, **options}
    try:
        return timm.create_model(name, pretrained=pretrained, img_size=image_size, **options)
    except TypeError as error:
        if "img_size" not in str(error):
            raise ValueError(f"timm's {name} refused its options {options}: {error}") from error
    return timm.create_model(name, pretrained=pretrained, **options)  # convolutional models take any size


def _cell(net: nn.Module, image_size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Pixels of a token: as timm says, else what is nearest to an even division."""
    levels = getattr(net, "feature_info", None)
    last = (levels[-1] if isinstance(levels, (list, tuple)) else levels.info[-1]) if levels else {}
    side = last.get("reduction")
    patch = getattr(getattr(net, "patch_embed", None), "patch_size", None)
    if isinstance(patch, (list, tuple)) and side is not None and side in patch and len(patch) == 2:
        return tuple(patch)  # patches that are not square
    if side is not None:
        return side, side
    return tuple(-(-pixels // count) for pixels, count in zip(image_size, grid, strict=True))


def _close_names(name: str) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, timm.list_models(), n=3)


def _has_norm(net: nn.Module) -> bool:
    """Whether the model has a final norm; convolutional ones raise if it is requested."""
    return hasattr(net, "norm") or hasattr(net, "norm_pre")
