"""Attention backends, all with one signature: query, key, value, mask, bias, dropout.

A backend raises an error for calls that it does not support; ``x2vlm.models.layers.attention`` meets it in a small run
and reports it.

Shape letters: B batch, H heads, Q queries, K keys, d width of a head.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from x2vlm.models.autograd.cpu_bias_attention import attention_with_learned_bias
from x2vlm.models.layers.ragged_keys import nested_attention, packed_attention, varlen_kernel
from x2vlm.models.layers.xformers_build import check_xformers
from x2vlm.registry import ATTENTION_BACKENDS

WITHOUT_CUDNN = (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)


@ATTENTION_BACKENDS.register_module(name="eager")
def eager(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float
) -> Tensor:
    """The definition, written out; the reference the others are compared with."""
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    if mask is not None:
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    return F.dropout(logits.softmax(dim=-1), dropout, training=dropout > 0) @ value


@ATTENTION_BACKENDS.register_module(name="sdpa")
def sdpa(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float) -> Tensor:
    """The scaled_dot_product_attention of torch, which chooses its own kernel."""
    return _sdpa(query, key, value, mask, bias, dropout)


@ATTENTION_BACKENDS.register_module(name="sdpa_without_cudnn")
def sdpa_without_cudnn(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float
) -> Tensor:
    """scaled_dot_product_attention held to flash, memory-efficient and written-out kernels: for shapes that vary.

    Torch takes the first of them that supports the call. On other devices than CUDA it is ``sdpa``.
    """
    return _sdpa(query, key, value, mask, bias, dropout, kernels=WITHOUT_CUDNN if query.is_cuda else ())


@ATTENTION_BACKENDS.register_module(name="flash")
def flash(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float
) -> Tensor:
    """scaled_dot_product_attention held to its flash kernel, which takes no mask on CUDA and no learned bias."""
    if query.is_cuda and not (mask is None and bias is None):
        term = "mask" if bias is None else "bias"
        raise NotImplementedError(f"it takes no {term} on CUDA; 'sdpa_without_cudnn' does, and is flash without one")
    return _sdpa(query, key, value, mask, bias, dropout, kernels=(SDPBackend.FLASH_ATTENTION,))


@ATTENTION_BACKENDS.register_module(name="xformers")
def xformers(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float
) -> Tensor:
    """The memory-efficient attention of xformers, on CUDA."""
    check_xformers(query.device.type)
    from xformers.ops import memory_efficient_attention  # imported on use: it is slow and may warn

    merged = _merge(mask, bias, query.dtype)
    if merged is not None:
        # Its kernels need the bias expanded, in rows that start at multiples of 8 elements.
        shape = (*query.shape[:3], key.shape[2])
        width = -(-shape[3] // 8) * 8
        merged = F.pad(merged.expand(shape), (0, width - shape[3]))[..., : shape[3]]
    by_token = (x.transpose(1, 2) for x in (query, key, value))
    return memory_efficient_attention(*by_token, attn_bias=merged, p=dropout).transpose(1, 2)


@ATTENTION_BACKENDS.register_module(name="flash_bias")
def flash_bias(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float
) -> Tensor:
    """The fused kernel of CPUs with a gradient for the bias too; without dropout."""
    if query.device.type != "cpu":
        raise NotImplementedError("it is for CPUs; on a GPU 'sdpa_without_cudnn' gives the bias its gradient")
    if dropout:
        raise NotImplementedError("it has no dropout of attention weights")
    if bias is None or not (torch.is_grad_enabled() and bias.requires_grad):
        return _sdpa(query, key, value, mask, bias, dropout)
    return attention_with_learned_bias(query, key, value, bias, mask)


@ATTENTION_BACKENDS.register_module(name="flex")
def flex(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float) -> Tensor:
    """The compiled flex_attention of torch, which reads mask and bias where they are; on a CPU without gradients."""
    if dropout:
        raise NotImplementedError("it has no dropout of attention weights")
    learns = any(x is not None and x.requires_grad for x in (query, key, value, bias))
    if query.device.type == "cpu" and learns and torch.is_grad_enabled():
        raise NotImplementedError("flex_attention has no backward pass on a CPU")
    return _compiled_flex()(query, key, value, score_mod=score_change(mask, bias, torch.finfo(query.dtype).min))


@ATTENTION_BACKENDS.register_module(name="varlen")
def varlen(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, bias: Tensor | None, dropout: float
) -> Tensor:
    """Unmasked keys only, packed one batch row after the other; for padding masks, without a bias.

    On CUDA in fp16 and bf16, without dropout, by ``torch.nn.attention.varlen`` where torch has it: nothing is read
    back from the device. Else by nested tensors, which wait for the device in every call.
    """
    if bias is not None:
        raise NotImplementedError("rows of different lengths take no bias")
    visible = key.new_ones(key.shape[0], key.shape[2], dtype=torch.bool)
    if mask is not None:
        if mask.dim() != 4 or mask.shape[1:3] != (1, 1):
            raise NotImplementedError(f"its masks are [B, 1, 1, K], the same for all queries; this is {[*mask.shape]}")
        visible = mask[:, 0, 0].expand_as(visible)
    kernel = None if dropout or query.shape[-1] % 8 else varlen_kernel(query.device.type, query.dtype)
    if kernel is None:
        return nested_attention(query, key, value, visible, dropout)
    return packed_attention(query, key, value, visible, kernel)


def _sdpa(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    bias: Tensor | None,
    dropout: float,
    kernels: tuple[SDPBackend, ...] = (),
) -> Tensor:
    merged = mask if bias is None else _merge(mask, bias, query.dtype)
    with sdpa_kernel([*kernels]) if kernels else nullcontext():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=merged, dropout_p=dropout)


def _merge(mask: Tensor | None, bias: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Mask and bias as one additive term."""
    if mask is None:
        return None if bias is None else bias.to(dtype)
    forbidden = torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)
    return forbidden if bias is None else bias.to(dtype) + forbidden


@cache
def _compiled_flex() -> Callable[..., Tensor]:
    from torch.nn.attention.flex_attention import flex_attention  # imported on use: it loads the compiler

    return torch.compile(flex_attention)


def score_change(mask: Tensor | None, bias: Tensor | None, least: float) -> Callable[..., Tensor] | None:
    """The ``score_mod`` of flex_attention: adds the bias, and sets masked logits to ``least``."""
    if mask is None and bias is None:
        return None
    mask_at, bias_at = (None if x is None else _reader(x) for x in (mask, bias))

    def change(score: Tensor, batch: Tensor, head: Tensor, row: Tensor, column: Tensor) -> Tensor:
        if bias_at is not None:
            score = score + bias_at(batch, head, row, column)
        return score if mask_at is None else torch.where(mask_at(batch, head, row, column), score, least)

    return change


def _reader(x: Tensor) -> Callable[..., Tensor]:
    """``x[..., H, Q, K]`` as a function of four indices, which are ignored in dimensions of size 1."""
    x = x[(None,) * (4 - x.dim())]
    varying = [size > 1 for size in x.shape]

    def read(*indices: Tensor) -> Tensor:
        return x[tuple(index if is_used else index * 0 for index, is_used in zip(indices, varying, strict=True))]

    return read
