"""Attention with a learned bias on a CPU, without storing the weights of all heads.

Torch's fused CPU kernel gives no gradient to what is added to the logits, so torch goes back to the written-out
definition there and keeps ``[B, H, Q, K]`` weights for the backward pass. Here the forward pass is the fused kernel,
and the backward pass makes the weights again, a few heads at a time.

Shape letters: B batch, H heads, Q queries, K keys, d width of a head.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**20  # weights held at once: 4 MiB, which the caches of a core about hold


def attention_with_learned_bias(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, mask: Tensor | None = None
) -> Tensor:
    """Softmax attention, scaled by ``d ** -0.5``, for CPU tensors of one type.

    Args:
        query: ``[B, H, Q, d]``.
        key: ``[B, H, K, d]``.
        value: ``[B, H, K, d]``.
        bias: Added to the logits, broadcastable to ``[B, H, Q, K]``; has a gradient.
        mask: bool, broadcastable likewise, True where a query may attend.

    Returns:
        ``[B, H, Q, d]``.
    """
    return _LearnedBias.apply(query, key, value, _four_dims(bias), None if mask is None else _four_dims(mask))


class _LearnedBias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
        added = bias.to(query.dtype)
        if mask is not None:
            added = added.masked_fill(~mask, torch.finfo(query.dtype).min)
        out, logsumexp = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=added.contiguous()
        )
        ctx.save_for_backward(query, key, value, bias, mask, out, logsumexp)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast("cpu", enabled=False):
            return *_gradients(grad, *ctx.saved_tensors), None


def _gradients(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bias: Tensor,
    mask: Tensor | None,
    out: Tensor,
    logsumexp: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and bias: FlashAttention's backward pass (arXiv:2205.14135, Algorithm 4)."""
    dtype = torch.promote_types(query.dtype, torch.float32)
    scale = query.shape[-1] ** -0.5
    grad_query, grad_key, grad_value = (_by_token(x) for x in (query, key, value))
    grad_bias = torch.zeros_like(bias, dtype=dtype)
    shift = -torch.linalg.vecdot(grad.to(dtype), out.to(dtype))[..., None]  # [B, H, Q, 1]
    room = None  # buffers of two chunks of weights, allocated once: new memory costs as much as the arithmetic
    for part in _parts(len(query), query.shape[1], query.shape[2] * key.shape[2]):
        q, k, v, g = (x[part].to(dtype).flatten(0, 1) for x in (query, key, value, grad))
        if room is None:
            room = q.new_empty(2, len(q), q.shape[1], k.shape[1])
        sizes = grad_query[part].shape[:2]
        weights, logits = room[:, : len(q)]  # [b * h, Q, K] each
        by_head = weights.unflatten(0, sizes)
        torch.sub(_broadcast(bias, part).expand_as(by_head), logsumexp[part][..., None], out=by_head)
        weights.baddbmm_(q, k.mT, alpha=scale).exp_()
        if mask is not None:
            by_head.masked_fill_(~_broadcast(mask, part), 0.0)
        grad_value[part] = (weights.mT @ g).unflatten(0, sizes)
        logits.copy_(shift[part].flatten(0, 1).expand_as(logits))
        logits.baddbmm_(g, v.mT).mul_(weights)  # the gradient of the logits
        total = _broadcast(grad_bias, part)
        total += logits.unflatten(0, sizes).sum_to_size(total.shape)
        grad_query[part] = (logits @ k).mul_(scale).unflatten(0, sizes)
        grad_key[part] = (logits.mT @ q).mul_(scale).unflatten(0, sizes)
    return grad_query, grad_key, grad_value, grad_bias.to(bias.dtype)


def _parts(batch: int, heads: int, weights: int) -> Iterator[tuple[slice, slice]]:
    """Slices of batch and heads with about ``CHUNK`` weights each, one batch-and-head at least."""
    rows = max(1, min(batch, CHUNK // weights))
    columns = max(1, CHUNK // (weights * rows))
    for head in range(0, heads, columns):
        for row in range(0, batch, rows):
            yield slice(row, row + rows), slice(head, head + columns)


def _broadcast(x: Tensor, part: tuple[slice, slice]) -> Tensor:
    """``x[part]`` where ``x`` may have a single row, or a single head, for all."""
    return x[tuple(p if size > 1 else slice(None) for p, size in zip(part, x.shape[:2], strict=True))]


def _by_token(x: Tensor) -> Tensor:
    """An empty gradient ``[B, H, N, d]``, with heads side by side for each token as projections make them."""
    batch, heads, tokens, width = x.shape
    return x.new_empty(batch, tokens, heads, width).transpose(1, 2)


def _four_dims(x: Tensor) -> Tensor:
    return x[(None,) * (4 - x.dim())]
