"""Chunked linear cross entropy over the vocabulary.

The vocabulary of XLM-R has 250,002 words: the logits of 1,536 predictions are 1.5 GB, and cross entropy holds
them three times. Here the predictions are scored in chunks, each with its gradient before the next.

Shape letters: P predictions, V words, D width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

SCORES = 2**26  # logits held at once: 256 MiB; 2,198 predictions over 30,522 words, 268 over 250,002


def linear_cross_entropy(
    hidden: Tensor,
    words: Tensor,
    bias: Tensor,
    labels: Tensor,
    smoothing: float = 0.0,
    never: int | None = None,
) -> Tensor:
    """Summed cross entropy of predictions; logits are the products of ``hidden`` with ``words``, plus ``bias``.

    The gradient is computed with the value, so that ``backward`` can run only once. Under autocast the products are of
    its type, as those of ``torch.nn.Linear``; everything else is fp32.

    Args:
        hidden: ``[P, D]`` states.
        words: ``[V, D]``, a vector for each word.
        bias: ``[V]``.
        labels: ``[P]`` long, the true words, each from 0 to V - 1.
        smoothing: Share of the target that is taken from the true word and spread evenly over the others.
        never: A word without a share of the target; must not be a label.

    Returns:
        Scalar, fp32; 0 without predictions.
    """
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    return _LinearCrossEntropy.apply(hidden, words, bias, labels, smoothing, never, dtype, torch.is_grad_enabled())


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        words: Tensor,
        bias: Tensor,
        labels: Tensor,
        smoothing: float,
        never: int | None,
        dtype: torch.dtype,
        learns: bool,
    ) -> Tensor:
        wanted = [learns and wants for wants in ctx.needs_input_grad[:3]]
        ctx.grads = [torch.zeros_like(x) if w else None for x, w in zip((hidden, words, bias), wanted, strict=True)]
        total = torch.zeros((), dtype=torch.promote_types(dtype, torch.float32), device=hidden.device)
        rows = max(1, SCORES // len(words))
        with torch.autocast(hidden.device.type, enabled=False):
            hidden, words, bias = (x.to(dtype) for x in (hidden, words, bias))
            for part in (slice(start, start + rows) for start in range(0, len(hidden), rows)):
                scores = torch.nn.functional.linear(hidden[part], words, bias).to(total.dtype)  # [rows, V]
                total += _costs(scores, labels[part], smoothing, never)
                if any(wanted):
                    _add_gradients(ctx.grads, scores.to(dtype), hidden[part], words, part)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.grads is None:
            raise RuntimeError(
                "linear_cross_entropy gives its gradient once; compute it again for a second backward pass."
            )
        grads, ctx.grads = ctx.grads, None
        return *(None if x is None else x.mul_(grad) for x in grads), None, None, None, None, None


def _costs(scores: Tensor, labels: Tensor, smoothing: float, never: int | None) -> Tensor:
    """Summed cost of ``[P, V]`` logits, which are overwritten by their gradient."""
    others = scores.shape[1] - 1 - (never is not None)
    share, target_index = smoothing / others, labels[:, None]
    least = scores.amax(dim=1, keepdim=True)
    target_scores = scores.gather(1, target_index) - least
    all_scores = (scores.sum(dim=1, keepdim=True) - least * scores.shape[1]) if smoothing else target_scores
    if smoothing and never is not None:
        all_scores -= scores[:, never, None] - least
    total = scores.sub_(least).exp_().sum(dim=1, keepdim=True)
    costs = total.log() - (1 - smoothing - share) * target_scores - share * all_scores
    scores.div_(total)
    if smoothing:
        scores -= share
        if never is not None:
            scores[:, never] += share
    scores.scatter_add_(1, target_index, torch.full_like(target_scores, smoothing + share - 1))
    return costs.sum()


def _add_gradients(grads: list[Tensor | None], scores: Tensor, hidden: Tensor, words: Tensor, part: slice) -> None:
    """Accumulate gradients of states, words and bias from the gradient ``[rows, V]`` of a chunk of logits."""
    of_hidden, of_words, of_bias = grads
    if of_hidden is not None:
        of_hidden[part] = scores @ words
    if of_words is not None and of_words.dtype == scores.dtype:
        of_words.addmm_(scores.T, hidden)
    elif of_words is not None:
        of_words += scores.T @ hidden
    if of_bias is not None:
        of_bias += scores.sum(dim=0, dtype=of_bias.dtype)
