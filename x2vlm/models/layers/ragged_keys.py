"""Attention with a different number of keys in each batch row, without computing padding.

Shape letters: B batch, H heads, Q queries, K keys, d width of a head.
"""

from collections.abc import Callable
from functools import cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from x2vlm.models.layers.kernel_trial import present, why_not

Kernel = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int, int], Tensor]


@cache
def varlen_kernel(device: str, dtype: torch.dtype) -> Kernel | None:
    """``varlen_attn`` of torch where it runs: torch >= 2.10, CUDA, fp16 or bf16; else None."""
    if device != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return None
    try:
        from torch.nn.attention.varlen import (
            varlen_attn,
        )  # imported on use: it registers operators, and older torch lacks it
    except ImportError:
        return None
    if present(device) and why_not(partial(_run_once, varlen_attn, device, dtype)) is not None:
        return None
    return varlen_attn


def _run_once(kernel: Kernel, device: str, dtype: torch.dtype) -> None:
    tokens = torch.ones(1, 1, 3, 16, device=device, dtype=dtype, requires_grad=True)
    packed_attention(tokens, tokens, tokens, tokens.new_ones(1, 3, dtype=torch.bool), kernel).sum().backward()


def packed_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, kernel: Kernel) -> Tensor:
    """Attention of ``[B, H, Q, d]`` to the keys ``[B, H, K, d]`` that are ``visible`` ``[B, K]``: ``[B, H, Q, d]``.

    Nothing is read back from the device. A row without a visible key attends to its first.

    Args:
        query: Queries.
        key: Keys.
        value: Values, of the shape of the keys.
        visible: Bool.
        kernel: ``(query [Tq, H, d], key [Tk, H, d], value, query ends [B + 1], key ends [B + 1], Q, K) -> [Tq, H, d]``,
            ends as int32, counted from 0, and the last key's end possibly before ``Tk``.
    """
    batch, heads, queries, width = query.shape
    visible = torch.cat([visible[:, :1] | ~visible.any(dim=1, keepdim=True), visible[:, 1:]], dim=1)
    hidden = ~visible.flatten()
    order = hidden.to(torch.uint8).argsort(stable=True)  # the visible ones first, each row's together
    unused = hidden[order][:, None, None]
    starts = torch.arange(0, batch * queries + 1, queries, device=query.device, dtype=torch.int32)
    ends = F.pad(visible.sum(dim=1).cumsum(dim=0), (1, 0)).to(torch.int32)
    # What no row attends to has no gradient of the kernel, not even zeros: filling it keeps that from the keys.
    packed = [_by_token(x).index_select(0, order).masked_fill(unused, 0.0) for x in (key, value)]
    mixed = kernel(_by_token(query), *packed, starts, ends, queries, key.shape[2])
    return mixed.view(batch, queries, heads, width).transpose(1, 2)


def nested_attention(query: Tensor, key: Tensor, value: Tensor, visible: Tensor, dropout: float) -> Tensor:
    """:func:`packed_attention` by nested tensors, on any device and in any precision; waits for the device."""
    batch, heads, queries, width = query.shape
    ends = F.pad(visible.sum(dim=1).cumsum(dim=0), (1, 0))
    starts = torch.arange(batch + 1, device=query.device) * queries
    packed = [_jagged(_by_token(query), starts)]
    packed += [_jagged(x.transpose(1, 2)[visible], ends) for x in (key, value)]
    mixed = F.scaled_dot_product_attention(*packed, dropout_p=dropout).transpose(1, 2).values()
    return mixed.view(batch, queries, heads, width).transpose(1, 2)


def _by_token(x: Tensor) -> Tensor:
    """``[B, H, N, d]`` -> ``[B * N, H, d]``."""
    return x.transpose(1, 2).flatten(0, 1)


def _jagged(rows: Tensor, ends: Tensor) -> Tensor:
    """``[T, H, d]`` rows as a batch of sequences that end where ``ends`` says, ``[B, H, (lengths), d]``."""
    return torch.nested.nested_tensor_from_jagged(rows, ends).transpose(1, 2)
