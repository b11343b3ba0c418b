"""Linear layers that keep little for the backward pass: what is cheap is computed again, products are not.

Of a pre-norm transformer block autograd keeps, among others, the outputs of norms and GELUs, which are what products
read. They follow from the inputs of the norms and GELUs, which are kept in any case, by one elementwise pass.

Shape letters: D width, K inner width.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class Linear(NamedTuple):
    """A linear layer: weight ``[K, D]``, bias ``[K]``."""

    weight: Tensor
    bias: Tensor


def normed_linear(hidden: Tensor, norm: nn.LayerNorm, layer: Linear) -> Tensor:
    """A linear layer of the normed ``hidden``: ``[..., D]`` -> ``[..., K]``."""
    if not torch.is_grad_enabled():
        return F.linear(norm(hidden), *layer)
    return _NormedLinear.apply(hidden, norm.weight, norm.bias, norm.eps, *layer)


def feed_forward(
    hidden: Tensor, first: Linear, second: Linear, norm: nn.LayerNorm | None = None, scale: Tensor | None = None
) -> Tensor:
    """Two linear layers with an exact (erf) GELU between: ``[..., D]`` -> ``[..., D]``.

    Args:
        hidden: What goes in.
        first: Of ``[K, D]``.
        second: Of ``[D, K]``.
        norm: Applied to ``hidden`` first, if given.
        scale: ``[D]``, multiplies what comes out, if given. No output is kept for its gradient.
    """
    if not torch.is_grad_enabled():
        out = F.linear(F.gelu(F.linear(hidden if norm is None else norm(hidden), *first)), *second)
        return out if scale is None else out * scale
    given = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
    return _FeedForward.apply(hidden, *given, *first, *second, scale)


class _NormedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor
    ) -> Tensor:
        normed, *moments = torch.native_layer_norm(hidden, gain.shape, gain, shift, eps)
        out = F.linear(normed, weight, bias)  # in the precision of autocast, if there is one
        ctx.save_for_backward(hidden, gain, shift, weight, *moments)
        ctx.dtype, ctx.eps = out.dtype, eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, gain, shift, weight, *moments = ctx.saved_tensors
        normed = F.layer_norm(hidden, gain.shape, gain, shift, ctx.eps)
        grad_normed, grad_weight, grad_bias = _linear_backward(grad.to(ctx.dtype), normed, weight)
        grads = _norm_backward(grad_normed, hidden, gain, shift, moments)
        return *grads, None, grad_weight, grad_bias


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        gain: Tensor | None,
        shift: Tensor | None,
        eps: float,
        weight1: Tensor,
        bias1: Tensor,
        weight2: Tensor,
        bias2: Tensor,
        scale: Tensor | None,
    ) -> Tensor:
        normed, moments = hidden, ()
        if gain is not None:
            normed, *moments = torch.native_layer_norm(hidden, gain.shape, gain, shift, eps)
        inner = F.linear(normed, weight1, bias1)
        ctx.save_for_backward(hidden, gain, shift, weight1, weight2, bias2, scale, inner, *moments)
        ctx.eps = eps
        if scale is not None:
            weight2, bias2 = weight2 * scale[:, None], bias2 * scale
        return F.linear(F.gelu(inner), weight2, bias2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, gain, shift, weight1, weight2, bias2, scale, inner, *moments = ctx.saved_tensors
        scaled = weight2 if scale is None else weight2 * scale[:, None]
        grad_inner, grad_weight2, grad_bias2 = _linear_backward(grad.to(inner.dtype), F.gelu(inner), scaled)
        grad_scale = None
        if scale is not None:
            grad_scale = (grad_weight2 * weight2).sum(dim=1) + grad_bias2 * bias2
            grad_weight2, grad_bias2 = grad_weight2 * scale[:, None], grad_bias2 * scale
        grad_inner = torch.ops.aten.gelu_backward(grad_inner, inner)
        normed = hidden if gain is None else F.layer_norm(hidden, gain.shape, gain, shift, ctx.eps)
        grad_normed, grad_weight1, grad_bias1 = _linear_backward(grad_inner, normed, weight1)
        grads = (grad_normed.to(hidden.dtype), None, None)
        if gain is not None:
            grads = _norm_backward(grad_normed, hidden, gain, shift, moments)
        return *grads, None, grad_weight1, grad_bias1, grad_weight2, grad_bias2, grad_scale


def _linear_backward(grad: Tensor, read: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of what a linear layer read, of its weight and of its bias, the latter in the weight's precision."""
    rows, dtype = grad.flatten(0, -2), weight.dtype
    grad_weight = rows.T @ read.flatten(0, -2).to(grad.dtype)
    return grad @ weight.to(grad.dtype), grad_weight.to(dtype), rows.sum(dim=0).to(dtype)


def _norm_backward(
    grad: Tensor, hidden: Tensor, gain: Tensor, shift: Tensor, moments: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.ops.aten.native_layer_norm_backward(
        grad.to(hidden.dtype), hidden, gain.shape, *moments, gain, shift, [True, True, True]
    )
