"""How images of a classification task are trained and tested, as timm does: policies, erasing, mixing, centre crops.

Shape letters: B images, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from PIL import Image
from torch import Tensor

from x2vlm.data.base import Record
from x2vlm.data.batch import Batch, Sample
from x2vlm.data.collate import PairCollate
from x2vlm.data.geometry import frame_size, move_boxes, resize
from x2vlm.registry import TRANSFORMS

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@TRANSFORMS.register_module()
class TimmAugment(BaseTransform):
    """A policy of timm by its name, e.g. ``rand-m9-mstd0.5-inc1`` (RandAugment, arXiv:1909.13719).

    Boxes do not follow: for images that are looked at as a whole.

    Args:
        policy: As timm spells it.
        size: Side of the images in pixels; translations go up to 45 % of it.
        mean: Grey that fills what an image leaves free, 0..1 for each channel.
    """

    def __init__(self, policy: str, size: int, mean: Sequence[float] = IMAGENET_MEAN) -> None:
        from timm.data.auto_augment import rand_augment_transform  # slow to import

        fill = tuple(min(255, round(255 * value)) for value in mean)
        options = {"translate_const": int(size * 0.45), "img_mean": fill, "interpolation": Image.BICUBIC}
        self.policy = rand_augment_transform(policy, options)

    def transform(self, results: Record) -> Record:
        """Change every frame."""
        frames = [np.asarray(self.policy(Image.fromarray(frame))) for frame in results["frames"]]
        return results | {"frames": frames}


@TRANSFORMS.register_module()
class CenterCrop(BaseTransform):
    """Resize the shorter side to ``size / share`` pixels (bicubic) and cut the middle out, ``size`` on both sides.

    Args:
        size: Side of what comes out.
        share: Of the shorter side (timm and the published ImageNet test: 224 of 256).
        backend: As of :class:`~x2vlm.data.transforms.Resize`.
    """

    def __init__(self, size: int, share: float = 224 / 256, backend: str = "torch") -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share is {share}; expected a share above 0, up to 1")
        self.size, self.share, self.backend = size, share, backend

    def transform(self, results: Record) -> Record:
        """Resize and crop every frame; boxes follow, and may end outside."""
        rows, columns = frame_size(results)
        factor = int(self.size / self.share) / min(rows, columns)
        height, width = max(self.size, round(rows * factor)), max(self.size, round(columns * factor))
        top, left = (height - self.size) // 2, (width - self.size) // 2
        frames = [resize(frame, (height, width), self.backend) for frame in results["frames"]]
        frames = [frame[top : top + self.size, left : left + self.size] for frame in frames]
        scale = np.array([width / columns, height / rows] * 2, dtype=np.float32)
        offset = np.array([left, top] * 2, dtype=np.float32)
        return move_boxes(results | {"frames": frames}, lambda boxes: boxes * scale - offset)


@TRANSFORMS.register_module()
class RandomErasing(BaseTransform):
    """Fill a rectangle of the finished image with noise (arXiv:1708.04896v2), as timm does. Stands after PackSample.

    Args:
        prob: How often.
        mode: ``pixel``: noise for every pixel; ``rand``: one colour; ``const``: 0.
        max_count: Most rectangles.
    """

    def __init__(self, prob: float = 0.25, mode: str = "pixel", max_count: int = 1) -> None:
        from timm.data.random_erasing import RandomErasing as Erasing  # slow to import

        self.erase = Erasing(prob, mode=mode, max_count=max_count, device="cpu")

    def transform(self, sample: Sample) -> Sample:
        """Erase in place: the pixels are the sample's own.

        Raises:
            ValueError: If it stands before PackSample.
        """
        if not isinstance(sample, Sample):
            raise ValueError("RandomErasing fills pixels of a finished sample: put it after PackSample.")
        self.erase(sample.pixels)
        return sample


@TRANSFORMS.register_module()
class MixCollate(PairCollate):
    """Make a batch in which images and their classes are mixed two by two: mixup (arXiv:1710.09412) or CutMix (1905.04899).

    ``Batch.label_weights`` ``[B, C]`` have the share of each class, with labels smoothed; there are no ``labels``. By
    timm, one mixture a batch. Of an odd number of images the last one stays as it is.

    Args:
        tokenizer: As of :class:`~x2vlm.data.collate.PairCollate`.
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
