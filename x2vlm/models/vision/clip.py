"""CLIP's vision transformer, as X-VLM uses it: regions of an image are encoded separately in its last blocks."""

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from x2vlm.models.layers.attention import attend
from x2vlm.models.vision.vision_weights import load_encoder
from x2vlm.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class CLIPViT(nn.Module):
    """CLIP ViT (arXiv:2103.00020) with its class token as the summary, for X-VLM (arXiv:2111.08276).

    A region has tokens of its own: in the last ``local_attn_depth`` blocks a copy of the image's tokens
    attends to the class token and the patches of that region only. Whole images go through the same blocks once.

    Args:
        image_size: Height and width of the images, one number or two, multiples of ``patch_size``.
        patch_size: Side of a patch in pixels.
        width: Width of a token.
        depth: Number of blocks.
        num_heads: Attention heads; one per 64 of width where not given.
        mlp_width: Width of the feed-forward layer; four times ``width`` where not given.
        local_attn_depth: Number of last blocks that encode regions separately.
        dropout: Probability, in training, for attention weights.
        checkpoint: CLIP weights (safetensors, or a plain tensor file), as X-VLM or transformers name them; positions
            are resized to ``image_size``.
        attention: Attention backend.
    """

    # Differs from the published code, where this encoder cannot run. See docs/differences.md#clip.

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        width: int = 768,
        depth: int = 12,
        num_heads: int | None = None,
        mlp_width: int | None = None,
        local_attn_depth: int = 4,
        dropout: float = 0.0,
        checkpoint: str | None = None,
        attention: str = "auto",
    ) -> None:
        super().__init__()
        self.image_size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        num_heads = num_heads or max(1, width // 64)
        if width % num_heads:
            raise ValueError(f"width {width} cannot be split in {num_heads} heads: num_heads must divide it.")
        if not 0 <= local_attn_depth <= depth:
            raise ValueError(f"local_attn_depth is {local_attn_depth}; expected 0 to depth={depth} blocks.")
        if any(side % patch_size for side in self.image_size):
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {patch_size} in both sides."
            )
        self.grid: tuple[int, int] = tuple(side // patch_size for side in self.image_size)
        self.width, self.local_attn_depth = width, local_attn_depth
        self.activation_checkpointing = False
        self.patch_embed = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.class_token = nn.Parameter(torch.empty(width))
        self.positions = nn.Embedding(1 + self.grid[0] * self.grid[1], width)
        self.pre_norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(
            Block(width, num_heads, mlp_width or 4 * width, dropout, attention) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self._init_weights()
        self._loaded = load_encoder(self, checkpoint) if checkpoint else set()

    def pretrained_names(self) -> set[str]:
        """Parameters that came from ``checkpoint``."""
        return self._loaded

    def _init_weights(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Linear | nn.Embedding | nn.Conv2d):
                nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def set_activation_checkpointing(self, on: bool) -> None:
        """Recompute activations in the backward pass, to save memory."""
        self.activation_checkpointing = on

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """``[U, 3, H, W]`` -> patches ``[U, N, D]`` in row-major order and class tokens ``[U, D]``, all normalised."""
        return self._finish(self._run(self.embed(images), self.blocks))

    def encode_regions(self, images: Tensor, owner: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode whole images and regions of them in one pass.

        Args:
            images: ``[U, 3, H, W]``.
            owner: ``[R]`` long, index of each region's image.
            mask: ``[R, N]`` bool, True at the patches of the region; the class token always belongs to it.

        Returns:
            Patches ``[U + R, N, D]``, those of the images first, and class tokens ``[U + R, D]``.
        """
        num_shared = len(self.blocks) - self.local_attn_depth
        tokens = self._run(self.embed(images), self.blocks[:num_shared])
        part_mask = torch.cat([mask.new_ones(len(mask), 1), mask], dim=1)
        key_mask = torch.cat([mask.new_ones(len(images), part_mask.shape[1]), part_mask])
        return self._finish(self._run(torch.cat([tokens, tokens[owner]]), self.blocks[num_shared:], key_mask))

    def embed(self, images: Tensor) -> Tensor:
        """``[U, 3, H, W]`` -> input of the first block, ``[U, 1 + N, D]``."""
        height, width = images.shape[-2:]
        if (height, width) != self.image_size:
            raise ValueError(
                f"images are {height} x {width} but CLIPViT was made for {self.image_size[0]} x {self.image_size[1]}. "
                "Set vision_encoder.image_size and the size in the pipeline to the same."
            )
        patches = self.patch_embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(images.shape[0], 1, -1), patches], dim=1)
        return self.pre_norm(tokens + self.positions.weight)

    def _run(self, tokens: Tensor, blocks: nn.ModuleList, key_mask: Tensor | None = None) -> Tensor:
        for block in blocks:
            if self.activation_checkpointing and self.training:
                tokens = recomputed(block, tokens, key_mask, use_reentrant=False)
            else:
                tokens = block(tokens, key_mask)
        return tokens

    def _finish(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.norm(tokens)  # of all tokens, where CLIP alone needs only the class token
        return tokens[:, 1:], tokens[:, 0]


class Block(nn.Module):
    """Pre-norm self-attention and feed-forward with quick GELU."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, dropout: float, backend: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, num_heads, dropout, backend)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, mlp_width), "fc2": nn.Linear(mlp_width, width)})

    def forward(self, tokens: Tensor, key_mask: Tensor | None) -> Tensor:
        """``[B, L, D]``; ``key_mask`` ``[B, L]`` bool, True where the tokens of a row may attend."""
        tokens = tokens + self.attn(self.norm1(tokens), key_mask)
        return tokens + self.mlp["fc2"](quick_gelu(self.mlp["fc1"](self.norm2(tokens))))


class SelfAttention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, num_heads: int, dropout: float, backend: str) -> None:
        super().__init__()
        self.query, self.key, self.value, self.proj = (nn.Linear(width, width) for _ in range(4))
        self.num_heads, self.dropout, self.backend = num_heads, dropout, backend

    def forward(self, tokens: Tensor, key_mask: Tensor | None) -> Tensor:
        """``[B, L, D]`` -> ``[B, L, D]``."""
        query, key, value = (
            layer(tokens).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mask = None if key_mask is None else key_mask[:, None, None]
        dropout = self.dropout if self.training else 0.0
        mixed = attend(query, key, value, mask, dropout=dropout, backend=self.backend)
        return self.proj(mixed.transpose(1, 2).flatten(2))


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's activation: ``x * sigmoid(1.702 x)``."""
    return x * torch.sigmoid(1.702 * x)
