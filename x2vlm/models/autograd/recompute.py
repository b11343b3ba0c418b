"""Linear layers that save less for the backward pass: norms and GELUs are recomputed, products are not.

Of a pre-norm transformer block autograd keeps, among others, the outputs of norms and GELUs, which are what products
read. They follow from the inputs of the norms and GELUs, which are kept in any case, by one elementwise pass.

Where autocast is on, each weight is cast once: the cast is kept for the backward pass, as autograd would keep it.

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


def scaled_linear(hidden: Tensor, layer: Linear, scale: Tensor) -> Tensor:
    """A linear layer times ``scale`` ``[K]``, which is taken into its weight: ``[..., D]`` -> ``[..., K]``."""
    if not torch.is_grad_enabled():
        return F.linear(hidden, layer.weight * scale[:, None], layer.bias * scale)
    return _ScaledLinear.apply(hidden, *layer, scale)


def feed_forward(
    hidden: Tensor, first: Linear, second: Linear, norm: nn.LayerNorm | None = None, scale: Tensor | None = None
) -> Tensor:
    """Two linear layers with an exact (erf) GELU between: ``[..., D]`` -> ``[..., D]``.

    Args:
        hidden: The input.
        first: Of ``[K, D]``.
        second: Of ``[D, K]``.
        norm: Applied to ``hidden`` first, if given.
        scale: ``[D]``, multiplies the output, if given. No output is saved for its gradient.
    """
    if not torch.is_grad_enabled():
        out = F.linear(F.gelu(F.linear(hidden if norm is None else norm(hidden), *first)), *second)
        return out if scale is None else out * scale
    norm_args = (None, None, 0.0) if norm is None else (norm.weight, norm.bias, norm.eps)
    return _FeedForward.apply(hidden, *norm_args, *first, *second, scale)


class _NormedLinear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, gain: Tensor, shift: Tensor, eps: float, weight: Tensor, bias: Tensor
    ) -> Tensor:
        normed, *moments = torch.native_layer_norm(hidden, gain.shape, gain, shift, eps)
        read = _as_read(weight, None, _product_dtype(weight))
        out = F.linear(normed, read, bias)  # in the precision of autocast, if there is one
        ctx.save_for_backward(hidden, gain, shift, read, *moments)
        ctx.dtype, ctx.weight_dtype, ctx.eps = out.dtype, weight.dtype, eps
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, gain, shift, weight, *moments = ctx.saved_tensors
        before, needs = ctx.needs_input_grad[:3], (any(ctx.needs_input_grad[:3]), *ctx.needs_input_grad[4:])
        normed = F.layer_norm(hidden, gain.shape, gain, shift, ctx.eps) if needs[1] else None
        grad_normed, grad_weight, grad_bias = _linear_backward(grad.to(ctx.dtype), normed, weight, needs)
        grads = _norm_backward(grad_normed, hidden, gain, shift, moments, before)
        return *grads, None, _cast(grad_weight, ctx.weight_dtype), _cast(grad_bias, ctx.weight_dtype)


class _ScaledLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, scale: Tensor) -> Tensor:
        read = _as_read(weight, scale, _product_dtype(weight))
        out = F.linear(hidden, read, bias * scale)
        # The scaled weight is made again, where no cast is saved by keeping it.
        ctx.save_for_backward(hidden, weight, bias, scale, None if read.dtype == weight.dtype else read)
        ctx.dtype = out.dtype
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, scale, read = ctx.saved_tensors
        needs = ctx.needs_input_grad
        read = _as_read(weight, scale, ctx.dtype) if read is None and needs[0] else read
        grads = _linear_backward(grad.to(ctx.dtype), hidden, read, _needs_before_scale(needs))
        return _cast(grads[0], hidden.dtype), *_scale_backward(*grads[1:], weight, bias, scale, needs[1:])


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
        read1 = _as_read(weight1, None, _product_dtype(weight1))
        read2 = _as_read(weight2, scale, _product_dtype(weight2))
        inner = F.linear(normed, read1, bias1)
        kept = read2 if scale is None or read2.dtype != weight2.dtype else None
        ctx.save_for_backward(hidden, gain, shift, read1, weight2, bias2, scale, kept, inner, *moments)
        ctx.eps, ctx.first_dtype = eps, weight1.dtype
        return F.linear(F.gelu(inner), read2, bias2 if scale is None else bias2 * scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, gain, shift, read1, weight2, bias2, scale, read2, inner, *moments = ctx.saved_tensors
        needs = ctx.needs_input_grad
        before, first, second = needs[:3], (any(needs[:3]), *needs[4:6]), (any(needs[:6]), *needs[6:])
        read2 = _as_read(weight2, scale, inner.dtype) if read2 is None and second[0] else read2
        gelu = F.gelu(inner) if second[1] or second[3] else None
        grads = _linear_backward(grad.to(inner.dtype), gelu, read2, _needs_before_scale(second))
        grads_second = _scale_backward(*grads[1:], weight2, bias2, scale, second[1:])
        if grads[0] is None:
            return *[None] * 6, *grads_second
        grad_inner = torch.ops.aten.gelu_backward(grads[0], inner)
        normed = hidden
        if gain is not None and first[1]:
            normed = F.layer_norm(hidden, gain.shape, gain, shift, ctx.eps)
        grads = _linear_backward(grad_inner, normed, read1, first)
        grads_first = (_cast(grads[1], ctx.first_dtype), _cast(grads[2], ctx.first_dtype))
        grads_hidden = (_cast(grads[0], hidden.dtype), None, None)
        if gain is not None:
            grads_hidden = _norm_backward(grads[0], hidden, gain, shift, moments, before)
        return *grads_hidden, None, *grads_first, *grads_second


def _product_dtype(weight: Tensor) -> torch.dtype:
    """The type of products with a weight: that of autocast, which leaves fp64 as it is, or the weight's."""
    device = weight.device.type
    cast = torch.is_autocast_enabled(device) and weight.dtype != torch.float64
    return torch.get_autocast_dtype(device) if cast else weight.dtype


def _as_read(weight: Tensor, scale: Tensor | None, dtype: torch.dtype) -> Tensor:
    """A weight as products use it: scaled in the weight's precision, then cast."""
    if scale is None or weight.dtype == dtype:
        return weight.to(dtype) if scale is None else weight * scale[:, None]
    return torch.mul(weight, scale[:, None], out=torch.empty_like(weight, dtype=dtype))  # one pass on a GPU


def _cast(grad: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return None if grad is None else grad.to(dtype)


def _linear_backward(
    grad: Tensor, read: Tensor | None, weight: Tensor | None, needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of what a linear layer read, of its weight and of its bias, each only where needed."""
    rows = grad.flatten(0, -2)
    grad_read = grad @ weight if needs[0] else None
    grad_weight = rows.T @ read.to(grad.dtype).flatten(0, -2) if needs[1] else None
    return grad_read, grad_weight, _sum_of_rows(rows) if needs[2] else None


def _sum_of_rows(rows: Tensor) -> Tensor:
    """Added up in fp32; on a GPU also given in fp32, which a CPU would have to copy the rows for."""
    on_cpu = rows.device.type == "cpu"
    return rows.sum(dim=0, dtype=None if on_cpu else torch.promote_types(rows.dtype, torch.float32))


def _needs_before_scale(needs: tuple[bool, ...]) -> tuple[bool, bool, bool]:
    """The gradient of a scale, needed or not, is made of those of weight and bias."""
    read, weight, bias, scale = needs
    return read, weight or scale, bias or scale


def _scale_backward(
    grad_weight: Tensor | None,
    grad_bias: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    scale: Tensor | None,
    needs: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of weight, bias and scale from those of the scaled weight and bias, in the weight's precision."""
    grad_scale = None
    if scale is not None:
        grad_scale = (grad_weight * weight).sum(dim=1) + grad_bias * bias if needs[2] else None
        grad_weight, grad_bias = (
            grad_weight * scale[:, None] if needs[0] else None,
            grad_bias * scale if needs[1] else None,
        )
    return _cast(grad_weight, weight.dtype), _cast(grad_bias, bias.dtype), grad_scale


def _norm_backward(
    grad: Tensor | None, hidden: Tensor, gain: Tensor, shift: Tensor, moments: list[Tensor], needs: tuple[bool, ...]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    if grad is None:
        return None, None, None
    return torch.ops.aten.native_layer_norm_backward(
        grad.to(hidden.dtype), hidden, gain.shape, *moments, gain, shift, [*needs]
    )
