"""Masked image modelling: what would the vision encoder say of the patches that it does not see?

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
    """The vision encoder reads images with hidden patches and should say what it says of them whole (X-FM).

    What is to be hit is the encoder's own output of the same step for the images as they are, without gradient: no
    second encoder, no tokenizer (X-FM, arXiv:2301.05065).

    The loss is the mean squared error of the hidden patches' vectors (mean over all their numbers) and, added to it,
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
        """Errors of the hidden patches and of the mean over all patches, scalars."""
        hidden, context = encoded.batch.masked_patches, encoded.context
        guess, guessed_mean = encoded.masked_image  # [U, N, D], [U, D]
        count = len(hidden)  # an encoder that reads regions on their own puts them behind the images
        seen = context.tokens[:count].detach()
        seen_mean = seen.mean(dim=1) if context.summaries is None else context.summaries[:count].detach()
        error = (guess - seen).square().mean(dim=-1)  # [U, N]
        patches = error.masked_fill(~hidden, 0.0).sum() / hidden.sum().clamp(min=1)
        return patches, (guessed_mean - seen_mean).square().mean()
