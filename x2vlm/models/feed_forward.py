"""Two linear layers with an exact (erf) GELU between, which keep the input of the GELU and compute it anew."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


def feed_forward(hidden: Tensor, first: tuple[Tensor, Tensor], second: tuple[Tensor, Tensor]) -> Tensor:
    """``[..., D]`` -> ``[..., D']``.

    What autograd would keep of it is mostly the output of the GELU, as large as its input: a quarter of all that a
    transformer layer keeps. It costs one elementwise pass to have it again in the backward pass.

    Args:
        hidden: What goes in.
        first: Weight ``[K, D]`` and bias ``[K]`` of the first layer.
        second: Weight ``[D', K]`` and bias ``[D']`` of the second.
    """
    if torch.is_grad_enabled():
        return _FeedForward.apply(hidden, *first, *second)
    return F.linear(F.gelu(F.linear(hidden, *first)), *second)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
        inner = F.linear(hidden, weight1, bias1)  # in the precision of autocast, if there is one
        ctx.save_for_backward(hidden, inner, weight1, weight2)
        return F.linear(F.gelu(inner), weight2, bias2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        hidden, inner, weight1, weight2 = ctx.saved_tensors
        dtype, shape = inner.dtype, hidden.shape
        rows, inner, grad = (x.flatten(0, -2).to(dtype) for x in (hidden, inner, grad))
        grad_weight2 = grad.T @ F.gelu(inner)
        grad_inner = torch.ops.aten.gelu_backward(grad @ weight2.to(dtype), inner)
        return (
            (grad_inner @ weight1.to(dtype)).view(shape).to(hidden.dtype),
            (grad_inner.T @ rows).to(weight1.dtype),
            grad_inner.sum(dim=0).to(weight1.dtype),
            grad_weight2.to(weight2.dtype),
            grad.sum(dim=0).to(weight2.dtype),
        )
