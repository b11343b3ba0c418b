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
        scaling: float | None = None,
        is_causal: bool | None = None,
        x2vlm_layout: Layout | None = None,
        x2vlm_cache: KVCache | None = None,
        **others: Any,
    ) -> tuple[Tensor, None]:
        _refuse_unknown(module, others)
        if scaling is not None and scaling != query.shape[-1] ** -0.5:
            query = query * (scaling * query.shape[-1] ** 0.5)  # ours divide by the root of the width
        if key.shape[1] != query.shape[1]:  # heads of queries share keys and values
            key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], dim=1) for x in (key, value))
        if attention_mask is None and x2vlm_layout is None and x2vlm_cache is None and query.shape[2] > 1:
            causal = getattr(module, "is_causal", True) if is_causal is None else is_causal  # transformers' own rule
            if causal:
                attention_mask = query.new_ones(query.shape[2], key.shape[2], dtype=torch.bool).tril()
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


def _refuse_unknown(module: nn.Module, others: dict[str, Any]) -> None:
    """What transformers hands over to change the result must not be lost."""
    changing = ("softcap", "position_bias", "s_aux", "sinks")
    given = [name for name in changing if others.get(name) is not None]
    if given:
        raise ValueError(f"{type(module).__name__} needs {', '.join(given)} in its attention. Set attention='native'.")


def _attend_packed(query: Tensor, key: Tensor, value: Tensor, layout: Layout, dropout: float, backend: str) -> Tensor:
    """``[1, H, T, d]`` of all texts one behind the other -> ``[1, T, H, d]``, each text attending to itself only."""
    query, key, value = (layout.pad(x[0].transpose(0, 1)).transpose(1, 2) for x in (query, key, value))
    mask = None if layout.is_full else layout.filled[:, None, None]
    return layout.pack(attend(query, key, value, mask, None, dropout, backend, ragged=True).transpose(1, 2))[None]


def cast_once_before(modules: Iterable[nn.Module]) -> None:
    """Cast the input of attention once under autocast, not for each of its three linear layers."""
    for module in modules:
        module.register_forward_pre_hook(lambda _, given: (cast_once(given[0]), *given[1:]) if given else None)
