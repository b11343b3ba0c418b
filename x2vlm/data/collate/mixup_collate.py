"""Batches of images that are mixed with each other, and their classes with them.

Shape letters: B images, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from x2vlm.data.batch import Batch, Sample
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.registry import TRANSFORMS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@TRANSFORMS.register_module()
class MixCollate(PairCollate):
    """Make a batch of images and classes mixed two by two: mixup (arXiv:1710.09412) or CutMix (arXiv:1905.04899).

    ``Batch.label_weights`` ``[B, C]`` have the share of each class, with labels smoothed; there are no ``labels``. By
    timm, one mixture a batch. Of an odd number of images the last one stays as it is.

    Args:
        tokenizer: As of :class:`~x2vlm.data.collate.pair_collate.PairCollate`.
        num_classes: C.
        mixup: Parameter of the Beta distribution of mixup's share; 0: no mixup.
        cutmix: The same of CutMix.
        prob: How many batches are mixed.
        switch_prob: How many of these by CutMix, where both are on.
        smoothing: Share of a label that is spread evenly over all classes.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        num_classes: int,
        mixup: float = 0.8,
        cutmix: float = 1.0,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        smoothing: float = 0.1,
    ) -> None:
        super().__init__(tokenizer, masking=None)
        from timm.data.mixup import Mixup  # slow to import

        self.mix = Mixup(
            mixup_alpha=mixup,
            cutmix_alpha=cutmix,
            prob=prob,
            switch_prob=switch_prob,
            mode="batch",
            label_smoothing=smoothing,
            num_classes=num_classes,
        )
        self.num_labels, self.smoothing = num_classes, smoothing

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """One batch of images with the weights of their classes.

        Raises:
            ValueError: If images have no class, or one that is not below ``num_classes``.
        """
        batch = super().__call__(samples)
        if not len(batch):
            return batch
        if batch.labels is None or batch.pixels is None or int(batch.labels.min()) < 0:
            raise ValueError(f"{batch.where[0]} (and so on): MixCollate needs images with a class each (PickLabel).")
        if int(batch.labels.max()) >= self.num_labels:
            raise ValueError(f"class {int(batch.labels.max())} is not below num_classes={self.num_labels}.")
        even = len(batch.labels) // 2 * 2
        pixels, weights = batch.pixels.clone(), self._smoothed(batch.labels)
        if even:
            pixels[:even], weights[:even] = self.mix(pixels[:even].clone(), batch.labels[:even])
        return replace(batch, pixels=pixels, labels=None, label_weights=weights)

    def _smoothed(self, labels: Tensor) -> Tensor:
        """``[B, C]``."""
        weights = torch.full((len(labels), self.num_labels), self.smoothing / self.num_labels)
        return weights.scatter_add_(1, labels[:, None], torch.full((len(labels), 1), 1 - self.smoothing))
