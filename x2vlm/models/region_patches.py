"""Which patches each pair attends to: masks from boxes, and the mean of the masked patches."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Batch, HostBatch


def encodes_regions(model: Any, batch: Batch) -> bool:
    """Whether the vision encoder encodes regions of these images separately, beside the images."""
    return (
        batch.pixels.dim() == 4
        and hasattr(model.vision_encoder, "encode_regions")
        and not bool(attends_whole_image(batch.on_host()).all())
    )


def attends_whole_image(host: HostBatch) -> np.ndarray:
    """``[B]`` bool, True for pairs whose region is the whole image."""
    if host.patch_mask is not None:
        return host.patch_mask.all(axis=1)
    if host.boxes_xyxy is None:
        return np.ones(len(host.owner), bool)
    return (host.boxes_xyxy == (0, 0, 1, 1)).all(axis=1)


def patch_mask(model: Any, batch: Batch) -> Tensor:
    """``[B, N]`` bool, the patches that each pair attends to: those that its box touches, unless the batch says."""
    if batch.patch_mask is not None:
        return batch.patch_mask
    return boxes_to_patch_mask(batch.boxes_xyxy, model.vision_encoder.grid)


def mean_of_masked_patches(tokens: Tensor, owner: Tensor, mask: Tensor) -> Tensor:
    """Mean over each pair's patches, without copying patches per pair.

    Args:
        tokens: ``[U, N, D]``.
        owner: ``[B]`` long.
        mask: ``[B, N]`` bool, at least one True a row.

    Returns:
        ``[B, D]``.
    """
    weights = mask.to(tokens.dtype) / mask.sum(dim=1, keepdim=True)
    is_owner = (owner[:, None] == torch.arange(len(tokens), device=owner.device)).to(tokens.dtype)
    return torch.einsum("bu,bn->bun", is_owner, weights).flatten(1) @ tokens.flatten(0, 1)
