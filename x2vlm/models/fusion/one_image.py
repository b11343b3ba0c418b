"""The fusion encoder over the texts of one image, layer by layer and padded: what export traces and explanations probe.

The numbers are those of :meth:`~x2vlm.models.fusion.encoder.CrossAttentionFusion.read`, which packs tokens and shares
keys and values; this way has plain shapes, and can show the attention probabilities of a layer.

Shape letters: T texts, L tokens of a text, N tokens of the image (the summary first), D width, H heads, d width of a
head.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from x2vlm.models.fusion.requests import KeyValue

Probabilities = Callable[[int, Tensor], Tensor]
"""``(layer, probabilities [T, H, L, N]) -> probabilities``: shown before they weigh the values."""


def read_with_image(
    layers: Sequence[nn.Module],
    text_states: Tensor,
    text_mask: Tensor,
    keys_values: Sequence[KeyValue],
    probe: Probabilities | None = None,
) -> Tensor:
    """Texts through the fusion layers with one image.

    Args:
        layers: The :class:`~x2vlm.models.fusion.layer.FusionLayer` of a fusion encoder.
        text_states: ``[T, L, D]`` from the text encoder.
        text_mask: ``[T, L]`` bool.
        keys_values: For each layer the image's keys and values, ``[H, N, d]`` each.
        probe: Is shown the cross-attention of each layer, and may change it; None: a fused kernel computes it.

    Returns:
        ``[T, L, D]``; what stands at padding has no meaning.
    """
    hidden = text_states
    for number, (layer, (key, value)) in enumerate(zip(layers, keys_values, strict=True)):
        hidden = layer.attention(hidden, layer.attention.keys_values(hidden), text_mask)
        query = layer.crossattention.query_heads(hidden)  # [T, L, H, d]
        if probe is None:
            mixed = _fused(query, key, value)
        else:
            mixed = _probed(query.transpose(1, 2), key, value, lambda p, number=number: probe(number, p))
        hidden = layer.crossattention.add(hidden, mixed)
        hidden = layer.ffn(hidden)
    return hidden


def _fused(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """To the image, the tokens of all texts are the queries of one: ``[T, L, H, d] -> [T, L, D]``."""
    shape = query.shape[:2]
    queries = query.flatten(0, 1).transpose(0, 1)[None]  # [1, H, T * L, d]
    mixed = F.scaled_dot_product_attention(queries, key[None], value[None])[0]
    return mixed.transpose(0, 1).unflatten(0, shape).flatten(2)


def _probed(query: Tensor, key: Tensor, value: Tensor, probe: Callable[[Tensor], Tensor]) -> Tensor:
    probabilities = (query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5).softmax(dim=-1)  # [T, H, L, N]
    return (probe(probabilities) @ value).transpose(1, 2).flatten(2)
