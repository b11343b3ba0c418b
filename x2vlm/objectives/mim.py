"""Masked image modelling: predict the encoder's own features of masked patches.

Shape letters: U images, N patches, D width.
"""

from collections.abc import Sequence

from torch import Tensor

from x2vlm.models.fusion.requests import FusedStates
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.registry import OBJECTIVES


@OBJECTIVES.register_module()
class MIM(Objective):
    """Predict the features of masked patches (X-FM).

    The target is the encoder's own output of the same step for the unmasked images, without gradient: there is no
    second encoder and no tokenizer (X-FM, arXiv:2301.05065).

    The loss is the mean squared error of the masked patches' vectors (mean over all their numbers) and, added to it,
    that of the mean over all patches.

    Args:
        mean_weight: Factor of the second term; 0 leaves only the patches.
        weight: Factor of the objective's losses.
    """

    needs = Needs(context=True, masked_image=True, batch=("pixels", "masked_patches"))

    def __init__(self, mean_weight: float = 1.0, weight: float = 1.0) -> None:
        super().__init__()
        if mean_weight < 0:
            raise ValueError(f"mean_weight is {mean_weight}; expected a factor of 0 or more.")
        self.mean_weight, self.weight = mean_weight, weight

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        patches, mean = self.terms(encoded)
        return {"loss_mim": patches + self.mean_weight * mean}

    def terms(self, encoded: EncodedBatch) -> tuple[Tensor, Tensor]:
        """Errors of the masked patches and of the mean over all patches, scalars."""
        masked, context = encoded.batch.masked_patches, encoded.context
        predicted, predicted_mean = encoded.masked_image  # [U, N, D], [U, D]
        count = len(masked)  # an encoder that encodes regions separately appends them to the images
        target = context.tokens[:count].detach()
        target_mean = target.mean(dim=1) if context.summaries is None else context.summaries[:count].detach()
        error = (predicted - target).square().mean(dim=-1)  # [U, N]
        patches = error.masked_fill(~masked, 0.0).sum() / masked.sum().clamp(min=1)
        return patches, (predicted_mean - target_mean).square().mean()
