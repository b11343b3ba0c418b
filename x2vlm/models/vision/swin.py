"""Swin Transformer, as X-VLM uses it: the final patches, whose mean is the summary."""

from collections.abc import Sequence

from timm.models import swin_transformer
from torch import Tensor, nn

from x2vlm.models.layers.attention import attend
from x2vlm.models.vision.cell_check import check_cells
from x2vlm.models.vision.vision_weights import load_encoder
from x2vlm.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class Swin(nn.Module):
    """Swin (arXiv:2103.14030); its grid has a cell for each 8 patches in both directions (32 pixels, for patches of 4).

    The defaults are Swin base at 384 pixels. At 224 pixels its windows are of 7.

    Args:
        image_size: Height and width of the images, one number or two.
        patch_size: Side of a patch in pixels.
        first_width: Width of a token in the first stage; every later stage doubles it.
        depths: Blocks of each stage.
        num_heads: Attention heads of each stage.
        window: Patches in a row of a window; smaller where a stage has fewer.
        drop_path: Stochastic depth of the last block; earlier blocks linearly less.
        checkpoint: Swin weights (safetensors, or a plain tensor file), in timm's or the original naming; tables of
            relative positions are resized to ``window``.
        attention: Attention backend.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 384,
        patch_size: int = 4,
        first_width: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 12,
        drop_path: float = 0.1,
        checkpoint: str | None = None,
        attention: str = "auto",
    ) -> None:
        super().__init__()
        if len(depths) != len(num_heads):
            raise ValueError(f"depths {tuple(depths)} and num_heads {tuple(num_heads)} must name as many stages.")
        self.net = swin_transformer.SwinTransformer(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=first_width,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            window_size=window,
            drop_path_rate=drop_path,
            num_classes=0,
            global_pool="",
        )
        for block in self.blocks():
            block.attn = WindowAttention(block.dim, block.attn.num_heads, block.window_size, attention)
        self.net.init_weights()
        self.image_size: tuple[int, int] = self.net.patch_embed.img_size
        self.grid: tuple[int, int] = self.net.layers[-1].output_resolution
        stride = patch_size * 2 ** (len(depths) - 1)
        check_cells(self.image_size, self.grid, (stride, stride), "Swin")
        self.width: int = self.net.num_features
        self._loaded = load_encoder(self, checkpoint) if checkpoint else set()

    def pretrained_names(self) -> set[str]:
        """Parameters that came from ``checkpoint``."""
        return self._loaded

    def blocks(self) -> list[nn.Module]:
        """The blocks of all stages, in order."""
        return [block for stage in self.net.layers for block in stage.blocks]

    def set_activation_checkpointing(self, on: bool) -> None:
        """Recompute activations in the backward pass, to save memory."""
        self.net.set_grad_checkpointing(on)

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """``[U, 3, H, W]`` -> tokens ``[U, N, D]`` in row-major order of the grid; no summary of its own."""
        return self.net.forward_features(images).flatten(1, 2), None


class WindowAttention(swin_transformer.WindowAttention):
    """timm's window attention, same parameters, sent through this library's attention backends."""

    def __init__(self, width: int, num_heads: int, window: tuple[int, int], backend: str) -> None:
        super().__init__(width, num_heads, window_size=window)
        self.backend = backend

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """``[U * W, N, D]`` -> same; ``mask`` ``[W, N, N]`` is added to the logits of each image's ``W`` windows."""
        windows = 1 if mask is None else len(mask)
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        # Windows of an image stand beside heads, so that one bias serves all images.
        query, key, value = qkv.unflatten(1, (-1, windows)).flatten(2, 3)
        bias = self._get_rel_pos_bias()  # [1, H, N, N]
        if mask is not None:
            bias = (bias + mask[:, None].to(bias.dtype)).flatten(0, 1)[None]
        mixed = attend(query, key, value, bias=bias, backend=self.backend)
        mixed = mixed.unflatten(1, (windows, -1)).flatten(0, 1).transpose(1, 2)
        return self.proj(mixed.flatten(2))
