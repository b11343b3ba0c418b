"""Derived tensors of published state dicts: indices of positions, and second names of tied tensors."""

import math
from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from x2vlm.weights.relative_positions import EXTRA_ROWS

_TABLE, _INDEX = "relative_position_bias_table", "relative_position_index"
_WORDS = "embeddings.word_embeddings.weight"
_HEADS = (".predictions.bias", ".lm_head.bias", ".lm_cap_head.bias")
_UNTIED = ("mlm_head.", "fusion_encoder.lm_head.")  # matrices of their own


def derived(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Compute the tensors of a published state dict that follow from its parameters.

    Args:
        state: Tensors under published names; derived ones among them are not read.

    Returns:
        ``position_ids``, ``relative_position_index``, and the tied ``decoder.weight`` and ``decoder.bias`` of word
        heads, under published names. Tied copies share their memory with what they copy.
    """
    tensors: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.endswith("position_embeddings.weight"):
            tensors[name.replace("position_embeddings.weight", "position_ids")] = torch.arange(len(value))[None]
        elif name.endswith("pos_embed.weight"):  # CLIP
            tensors[name.replace("pos_embed.weight", "position_ids")] = torch.arange(len(value))[None]
        elif name.endswith(_TABLE):
            if (index := relative_index(len(value))) is not None:
                tensors[name.replace(_TABLE, _INDEX)] = index
        elif name.endswith(_HEADS):
            head = name.removesuffix("bias")
            tensors[f"{head}decoder.bias"] = value
            if not head.startswith(_UNTIED) and (words := _embeddings_of(head, state)) is not None:
                tensors[f"{head}decoder.weight"] = words
        elif name == "fusion_encoder.lm_head.decoder.weight":  # X-FM: tied to embeddings that nothing else reads
            tensors[f"fusion_encoder.roberta.{_WORDS}"] = value
    return tensors


def _embeddings_of(head: str, state: Mapping[str, Tensor]) -> Tensor | None:
    """The word embeddings of the encoder that a head belongs to."""
    encoder = head.partition(".")[0]
    names = (f"{encoder}.{inner}{_WORDS}" for inner in ("bert.", "roberta.", ""))
    embeddings = next((state[name] for name in names if name in state), None)
    if embeddings is None and encoder == "fusion_encoder":
        return state.get("fusion_encoder.lm_head.decoder.weight")
    return embeddings


@cache
def relative_index(rows: int) -> Tensor | None:
    """The published index into a square relative table of ``rows`` rows; None if no table has that many.

    BEiT's tables have three rows more than distances: class to patch, patch to class, class to class.

    Returns:
        ``[N, N]`` for Swin's windows, ``[1 + N, 1 + N]`` for BEiT; row: query, column: key.
    """
    side = _side_of(rows - EXTRA_ROWS)
    has_class = side is not None
    side = side or _side_of(rows)
    if side is None:
        return None
    positions = torch.cartesian_prod(torch.arange(side), torch.arange(side))  # [N, 2] row, column
    distance = positions[:, None] - positions[None] + side - 1
    index = distance[..., 0] * (2 * side - 1) + distance[..., 1]
    if not has_class:
        return index
    with_class = index.new_empty(len(index) + 1, len(index) + 1)
    with_class[1:, 1:] = index
    with_class[0, :], with_class[:, 0], with_class[0, 0] = rows - 3, rows - 2, rows - 1
    return with_class


def _side_of(distances: int) -> int | None:
    """Side of the square grid with ``distances`` distinct distances ``(2 side - 1) ** 2``; None if there is none."""
    root = math.isqrt(max(distances, 0))
    return (root + 1) // 2 if root * root == distances and root % 2 else None
