"""Box prediction: the box that a text refers to, in the whole image."""

from collections.abc import Sequence

import torch
from torch import Tensor

from x2vlm.boxes import cxcywh_to_xyxy, paired_giou, xyxy_to_cxcywh
from x2vlm.models.fusion.requests import FusedStates, FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.outputs import EncodedBatch
from x2vlm.objectives.base import Objective
from x2vlm.objectives.heads import two_layer_head
from x2vlm.registry import OBJECTIVES


@OBJECTIVES.register_module()
class BBox(Objective):
    """Regress the box a text refers to (arXiv:2211.12402v1, Eqs. (4) and (5)).

    The text attends to every patch of the image, not to its region's: the region mask would give the answer away.

    Args:
        width: Width of the fusion encoder.
        l1_weight: Weight of the L1 term, summed over the four normalised coordinates.
        giou_weight: Weight of the generalised-IoU term.
        whole_images: Also predict the box of a text that means the whole image, all of it.
        weight: Factor of the objective's losses.
    """

    needs = Needs(text=True, context=True, batch=("boxes_xyxy", "has_box"))

    def __init__(
        self,
        width: int,
        l1_weight: float = 1.0,
        giou_weight: float = 1.0,
        whole_images: bool = False,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.weight, self.whole_images = weight, whole_images
        self.head = two_layer_head(width, out_dim=4)
        self.l1_weight = l1_weight
        self.giou_weight = giou_weight

    def requests(self, encoded: EncodedBatch) -> list[FusionRequest]:
        """Every text with all of its image."""
        return [FusionRequest(encoded.text, encoded.full_context, at=0)]

    def losses(self, encoded: EncodedBatch, fused: Sequence[FusedStates]) -> dict[str, Tensor]:
        predicted = self.box(fused[0].states)
        target_xyxy, has_box = encoded.batch.boxes_xyxy, encoded.batch.has_box
        if self.whole_images:
            has_box = torch.ones_like(has_box)
        l1 = (predicted - xyxy_to_cxcywh(target_xyxy)).abs().sum(dim=-1)  # [B]
        giou = paired_giou(cxcywh_to_xyxy(predicted), target_xyxy)  # [B]
        # Differs from the published code: there one inside-out box zeroes GIoU for the whole batch. See
        # docs/differences.md#giou.
        has_extent = (target_xyxy[:, 2:] > target_xyxy[:, :2]).all(dim=-1)
        return {
            "loss_bbox": self.l1_weight * masked_mean(l1, has_box),
            "loss_giou": self.giou_weight * masked_mean(1 - giou, has_box & has_extent),
        }

    def box(self, fused_summary: Tensor) -> Tensor:
        """``[B, D]`` fused summaries -> boxes ``[B, 4]``, normalised cxcywh."""
        return self.head(fused_summary).sigmoid()  # Eq. (4)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``values`` where ``mask`` is True; 0, not NaN, where it never is."""
    return values.masked_fill(~mask, 0.0).sum() / mask.sum().clamp(min=1)
