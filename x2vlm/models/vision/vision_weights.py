"""Weights of vision towers from files."""

from pathlib import Path

from torch import nn

from x2vlm.weights.read_weights import read_tensors
from x2vlm.weights.tower_weights import fill, vision_tensors


def load_weights(net: nn.Module, path: str | Path, drop: tuple[str, ...] = ()) -> set[str]:
    """Fill a timm model from a file of timm's or the tower's original naming; returns the names that were filled.

    Args:
        net: A timm model.
        path: The file.
        drop: Beginnings of names that are not wanted (classification heads).

    Raises:
        CheckpointError: If the file cannot be read, a parameter of ``net`` stays empty, or a tensor has no place.
    """
    from timm.models import beit

    tensors = {name: value for name, value in read_tensors(path).items() if not name.startswith(drop or ("\0",))}
    if not isinstance(net, beit.Beit):
        return fill(net, tensors, str(path))
    ours = {name.removeprefix("net."): value for name, value in vision_tensors(tensors, len(net.blocks)).items()}
    return fill(net, ours, str(path), net.patch_embed.grid_size)


def load_encoder(encoder: nn.Module, path: str | Path) -> set[str]:
    """Fill one of this library's vision encoders (CLIP ViT, Swin) from a file; returns the names that were filled.

    Args:
        encoder: The encoder, with ``grid``.
        path: Weights of the published model, of transformers or of timm.

    Raises:
        CheckpointError: As :func:`load_weights`.
    """
    return fill(encoder, vision_tensors(read_tensors(path), depth=0), str(path), encoder.grid)
