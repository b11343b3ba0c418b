"""Attention of transformers models through this library's backends, with packed texts and a KV cache.

Shape letters: H heads, T tokens of all texts, d width of a head.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import sdpa_mask

from x2vlm.models.generation.kv_cache import KVCache
from x2vlm.models.layers.attention import attend
from x2vlm.models.layers.packing import Layout
from x2vlm.models.layers.precision import cast_once


def register_attention(backend: str) -> str:
    """Register an attention backend with transformers; returns its name there."""
    # Transformers takes every name with "flash" in it for a kernel that it has to fetch from its hub.
    name = f"x2vlm_{backend.replace('flash', 'f_lash')}"

    def forward(
        module: nn.Module,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attention_mask: Tensor | None,
        dropout: float = 0.0,
        x2vlm_layout: Layout | None = None,
        x2vlm_cache: KVCache | None = None,
        **_: Any,
    ) -> tuple[Tensor, None]:
        mask, bias = (
            (attention_mask, None)
            if attention_mask is None or attention_mask.dtype == torch.bool
            else (None, attention_mask)
        )
        if x2vlm_layout is not None:
            return _attend_packed(query, key, value, x2vlm_layout, dropout, backend), None
        if x2vlm_cache is not None:
            key, value = x2vlm_cache.extend(module, (key, value))
        return attend(query, key, value, mask, bias, dropout, backend, ragged=True).transpose(1, 2), None

    AttentionInterface.register(name, forward)
    AttentionMaskInterface.register(name, sdpa_mask)
    return name


def _attend_packed(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float, backend: str) -> Tensor:
    """``[1, H, T, d]`` of all texts one behind the other -> ``[1, T, H, d]``, each text attending to itself only."""
    query, key, value = (layout.pad(x[0].transpose(0, 1)).transpose(1, 2) for x in (query, key, value))
    mask = None if layout.is_full else layout.filled[:, None, None]
    return layout.pack(attend(query, key, value, mask, None, dropout, backend, ragged=True).transpose(1, 2))[None]


def cast_once_before(modules: Iterable[nn.Module]) -> None:
    """Cast the input of attention once under autocast, not for each of its three linear layers."""
    for module in modules:
        module.register_forward_pre_hook(lambda _, given: (cast_once(given[0]), *given[1:]) if given else None)
