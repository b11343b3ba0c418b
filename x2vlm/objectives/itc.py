"""Image-text contrastive loss over the batches of all processes.

The temperature belongs to the model: ``x2vlm.models.temperature``.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from x2vlm.distributed import all_gather_rows, row_offset, world_size
from x2vlm.models.fusion.requests import FusedStates
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.objectives.positives import Positives, check_rule, keys_match, pair_keys
from x2vlm.registry import OBJECTIVES

LOGITS = 2**22  # similarities compared at once: 16 MiB; the backward pass needs a few times as much


@OBJECTIVES.register_module()
class ITC(Objective):
    """Contrastive loss over the batches of all processes (arXiv:2211.12402v1, Eq. (1)).

    Args:
        positives: Which other pairs of the batch count as true, with equal shares of the target:
            ``pairs``, ``ids`` or ``ids_and_texts``; see ``x2vlm.objectives.positives``.
        grad: ``exact``: in any number of processes the gradient of one process with the whole batch. ``official``: the
            encoders' gradient is divided by the number of processes, as in the published code; not the temperature's.
        world: For ``official``: the number of processes of the run that is repeated, so that its gradient is the same
            in any other number of processes. The number there is, if not given.
        weight: Factor of the objective's losses.
    """

    needs = Needs(text=True, context=True, features=True)

    def __init__(
        self, positives: Positives = "ids", grad: str = "exact", world: int | None = None, weight: float = 1.0
    ) -> None:
        super().__init__()
        self.positives = check_rule(positives)
        if grad not in ("exact", "official"):
            raise ValueError(f"grad='{grad}' is not known. Accepted: exact, official.")
        if world is not None and (grad != "official" or world < 1):
            raise ValueError(
                f"world={world} is for grad='official', a number of processes from 1 on; grad is '{grad}'."
            )
        self.grad, self.world, self.weight = grad, world, weight

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        context, text = encoded.context.feat, encoded.text.feat
        keys = pair_keys(encoded, self.positives)
        if self.grad == "official":
            processes = self.world or world_size()
            context, text = (ScaleGradient.apply(feat, 1 / processes) for feat in (context, text))
        if self.positives == "pairs" or encoded.batch.ids is None:
            # Keys that a process made itself: shifted so that no two processes use the same ones.
            keys = torch.cat([keys[:, :1] + row_offset(keys), keys[:, 1:]], dim=1)
        all_keys = all_gather_rows(keys)
        i2t = contrast(context, all_gather_rows(text), encoded.temperature, keys, all_keys)
        t2i = contrast(text, all_gather_rows(context), encoded.temperature, keys, all_keys)
        return {"loss_itc": (i2t + t2i) / 2}


def contrast(rows: Tensor, columns: Tensor, temperature: Tensor, row_keys: Tensor, column_keys: Tensor) -> Tensor:
    """Mean cross entropy of each row's positives among the columns.

    Large batches are compared in chunks of rows, which the backward pass recomputes: no more than about ``LOGITS``
    similarities are held at once.

    Args:
        rows: ``[B, E]`` features.
        columns: ``[C, E]`` features.
        temperature: Scalar, divides the similarities.
        row_keys: ``[B, K]``, see :func:`~x2vlm.objectives.positives.pair_keys`.
        column_keys: ``[C, K]``; a row's target is shared equally by the columns that have a key of its own.

    Returns:
        Scalar.
    """

    def costs(features: Tensor, keys: Tensor) -> Tensor:
        logits = features @ columns.T / temperature
        return soft_cross_entropy(logits, keys_match(keys, column_keys)).sum()

    size = max(1, LOGITS // len(columns))
    if len(rows) <= size:
        return costs(rows, row_keys) / len(rows)
    recomputed = partial(checkpoint, costs, use_reentrant=False, preserve_rng_state=False)
    parts = zip(rows.split(size), row_keys.split(size), strict=True)
    return torch.stack([recomputed(*part) for part in parts]).sum() / len(rows)


def soft_cross_entropy(logits: Tensor, positive: Tensor) -> Tensor:
    """``[B]`` cross entropies of ``[B, C]`` logits; a row's target is shared by its positives (``[B, C]`` bool)."""
    target = positive / positive.sum(dim=1, keepdim=True)
    return -(target * logits.log_softmax(dim=1)).sum(dim=1)


class ScaleGradient(torch.autograd.Function):
    """The identity, with a scaled gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        """``x`` itself."""
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        """``scale`` times the gradient."""
        return grad * ctx.scale, None
