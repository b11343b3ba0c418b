"""BEiT-2, the published vision encoder: relative positions in every block, no absolute ones."""

import torch
from timm.models import beit
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from x2vlm.models.vision.beit2_blocks import RelativeBlock
from x2vlm.models.vision.cell_check import check_cells
from x2vlm.models.vision.vision_weights import load_weights
from x2vlm.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class BEiT2(nn.Module):
    """BEiT-2 (arXiv:2208.06366) as X2-VLM uses it: the class token helps in attention and is then dropped.

    Args:
        image_size: Height and width of the images, one number or two, multiples of ``patch_size``.
        patch_size: Side of a patch in pixels.
        width: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; one per 64 of width where not given.
        drop_path: Stochastic depth of the last block; earlier blocks linearly less.
        layer_scale: Start value of the residual scales.
        mask_token: Add a mask token, for masked image modelling.
        checkpoint: BEiT-2 weights (safetensors, or a plain tensor file), in timm's or the original naming; tables of
            relative positions are resized to ``image_size``.
        attention: Attention backend.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int | None = None,
        drop_path: float = 0.1,
        layer_scale: float = 0.1,
        mask_token: bool = False,
        checkpoint: str | None = None,
        attention: str = "auto",
    ) -> None:
        super().__init__()
        num_heads = num_heads or max(1, width // 64)
        self.net = beit.Beit(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=width,
            depth=depth,
            num_heads=num_heads,
            num_classes=0,
            global_pool="token",  # keeps the final norm
            qkv_bias=True,
            drop_path_rate=drop_path,
            init_values=layer_scale,
            use_abs_pos_emb=False,
            use_rel_pos_bias=True,
        )
        self.net.head = nn.Identity()
        self.grid: tuple[int, int] = self.net.patch_embed.grid_size
        self.image_size: tuple[int, int] = self.net.patch_embed.img_size
        check_cells(self.image_size, self.grid, self.net.patch_embed.patch_size, "BEiT2")
        self.width = width
        self.net.blocks = nn.ModuleList(RelativeBlock(block, self.grid, attention) for block in self.net.blocks)
        self.net.init_weights()
        # Made in the network, beside the class token: that is where weights of BEiT-2 have it.
        self.net.mask_token = None
        if mask_token:
            self.net.mask_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, width), std=0.02))
        self._loaded = load_weights(self.net, checkpoint, drop=("head", "lm_head")) if checkpoint else set()

    def pretrained_names(self) -> set[str]:
        """Parameters that came from ``checkpoint``."""
        return {f"net.{name}" for name in self._loaded}

    def set_activation_checkpointing(self, on: bool) -> None:
        """Recompute activations in the backward pass, to save memory."""
        self.net.set_grad_checkpointing(on)

    def forward(self, images: Tensor, masked_patches: Tensor | None = None) -> tuple[Tensor, None]:
        """``[U, 3, H, W]`` -> patches ``[U, N, D]`` in row-major order, without class token; no summary of its own.

        Args:
            images: The images.
            masked_patches: ``[U, N]`` bool; the mask token takes the place of these patches, before the blocks.

        Raises:
            ValueError: If patches are masked without a mask token, or are not those of this grid.
        """
        tokens = self.net.patch_embed(images)
        if masked_patches is not None:
            self._check_masked(masked_patches, tokens)
            tokens = torch.where(masked_patches[..., None], self.net.mask_token, tokens)
        tokens = torch.cat([self.net.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        for block in self.net.blocks:
            recompute = self.net.grad_checkpointing and self.training
            tokens = recomputed(block, tokens, use_reentrant=False) if recompute else block(tokens)
        return self.net.norm(tokens)[:, 1:], None

    def _check_masked(self, masked_patches: Tensor, tokens: Tensor) -> None:
        if self.net.mask_token is None:
            raise ValueError("patches are masked but BEiT2 has no mask token. Set vision_encoder.mask_token=True.")
        if masked_patches.shape != tokens.shape[:2]:
            rows, columns = self.grid
            raise ValueError(
                f"masked_patches are {tuple(masked_patches.shape)} but the images have {len(tokens)} x {rows} x "
                f"{columns} patches. Set grid=({rows}, {columns}) of MaskPatches."
            )
