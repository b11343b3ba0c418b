"""Transforms of whole images as timm and the benchmarks have them: policies, erasing, centre crops, crops to a box."""

from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from PIL import Image

from x2vlm.data.batch import Sample
from x2vlm.data.record import Record, RecordError
from x2vlm.data.transforms.images.box_geometry import move_boxes
from x2vlm.data.transforms.images.geometry import frame_size, resize
from x2vlm.registry import TRANSFORMS

IMAGENET_MEAN = (0.485, 0.456, 0.406)


@TRANSFORMS.register_module()
class TimmAugment(BaseTransform):
    """A policy of timm by its name, e.g. ``rand-m9-mstd0.5-inc1`` (RandAugment, arXiv:1909.13719).

    Boxes do not follow: for images that are looked at as a whole.

    Args:
        policy: As timm spells it.
        size: Side of the images in pixels; translations go up to 45 % of it.
        mean: Grey that fills what an image leaves free, 0..1 for each channel.
    """

    moves_pixels = True

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
        backend: As of :class:`~x2vlm.data.transforms.images.load_crop_flip.Resize`.
    """

    moves_pixels = True

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
class CropToBox(BaseTransform):
    """Keep what is inside ``crop_px`` (x, y, width, height in pixels), as ARO does; without one, all of it.

    Stands right after ``LoadImage``: boxes of elements would not follow.
    """

    moves_pixels = True

    def transform(self, results: Record) -> Record:
        """Crop every frame.

        Raises:
            RecordError: If nothing of the image is inside.
        """
        if results.get("crop_px") is None:
            return results
        x, y, width, height = (round(value) for value in results["crop_px"])
        rows, columns = results["frames"][0].shape[:2]
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, columns), min(y + height, rows)
        if x1 <= x0 or y1 <= y0:
            raise RecordError(
                results["where"], f"its box {results['crop_px']} is outside the image of {columns}x{rows}"
            )
        return results | {"frames": [frame[y0:y1, x0:x1] for frame in results["frames"]]}
