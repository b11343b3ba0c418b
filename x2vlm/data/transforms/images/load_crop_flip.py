"""Load, resize, crop and mirror images and clips, with the boxes carried along.

A transform takes a record and returns a new one; its input stays unchanged. Random ones draw from the
global generators. ``frames`` is a list of ``[H, W, 3]`` uint8 RGB arrays, one for an image; the pairs of the record are
the lists ``texts``, ``has_box`` and ``ids`` and the ``[R, 4]`` array ``boxes_xyxy_px`` in pixels of the frames as they
are now. Several ``images`` of a record that a text attends to are no frames of one clip: each is cropped,
mirrored and coloured separately.

Shape letters: R pairs of the record, F frames.
"""

import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from x2vlm.data.io.image_decoding import MAX_BYTES, MAX_PIXELS, decode_image
from x2vlm.data.record import Record, RecordError
from x2vlm.data.transforms.elements import on_real_size
from x2vlm.data.transforms.images.box_geometry import check_no_boxes, clip_boxes, flip_boxes, move_boxes
from x2vlm.data.transforms.images.geometry import (
    CropBox,
    Size,
    are_separate_images,
    checked_backend,
    crop,
    frame_size,
    mirror,
    parse_size,
    resize,
    with_size,
)
from x2vlm.data.transforms.texts.left_right_words import mentions_side, texts_of_record
from x2vlm.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadImage(BaseTransform):
    """Read ``image`` (a path, bytes or an array) into ``frames``; ``extras["image_size"]`` gets its (height, width).

    Of a record with several ``images``, all are read, and the size is that of the first.

    Args:
        max_pixels: Larger images are bad records: a small file may hold an image that fills the memory.
        max_bytes: So are larger files.
        at_least: Decode JPEG images at the smallest scale, half or less, at which both sides have so many pixels or
            more; ``image_size`` is that of what comes out. For large photos; the side that ``Resize`` gives, or what
            the smallest random crop needs. Images with ``elems`` are read in full: boxes are annotated at
            full size. None reads every image in full.
        rescale_boxes: Boxes of a record that states another size (``stated_size``) than its image has follow the
            image, if the aspect is the same: the image is a rescaled copy. False: such a record is bad, as it is
            where the aspect differs.
        exif: Turn images as their EXIF orientation says. Most data sets annotate boxes on the stored pixels.
    """

    def __init__(
        self,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = MAX_BYTES,
        at_least: int | None = None,
        rescale_boxes: bool = False,
        exif: bool = False,
    ) -> None:
        if min(max_pixels, max_bytes) < 1:
            raise ValueError(f"max_pixels={max_pixels} and max_bytes={max_bytes} are limits, of 1 or more")
        if at_least is not None and at_least < 1:
            raise ValueError(f"at_least is {at_least}; expected a side in pixels, or None to read images in full")
        self.max_pixels, self.max_bytes, self.at_least = max_pixels, max_bytes, at_least
        self.rescale_boxes, self.exif = rescale_boxes, exif

    def transform(self, results: Record) -> Record:
        """Add ``frames``.

        Raises:
            RecordError: If an image is missing or broken, or the record has none.
        """
        sources = results["images"] if are_separate_images(results) else [results.get("image")]
        if not sources or any(source is None for source in sources):
            raise RecordError(results["where"], "there is no image")
        at_least = 0 if results.get("elems") else self.at_least or 0
        limits = (self.max_pixels, self.max_bytes, at_least, self.exif)
        frames = [decode_image(one, results["where"], *limits) for one in sources]
        if results.get("elems"):
            results = on_real_size(results, frames[0].shape[:2], self.rescale_boxes)
        return results | {"frames": frames, "extras": with_size(results, frames[0])}


@TRANSFORMS.register_module()
class Resize(BaseTransform):
    """Bicubic resize to exactly ``size``; the shape is not kept.

    Args:
        size: A side, or (height, width).
        backend: ``"torch"``, or ``"pillow"``, which is slower; see
            :func:`~x2vlm.data.transforms.images.geometry.resize`.
    """

    def __init__(self, size: Size, backend: str = "torch") -> None:
        self.size, self.backend = parse_size(size), checked_backend(backend)

    def transform(self, results: Record) -> Record:
        """Resize frames and boxes."""
        height, width = frame_size(results)
        factor = np.array([self.size[1] / width, self.size[0] / height] * 2, dtype=np.float32)
        frames = [resize(frame, self.size, self.backend) for frame in results["frames"]]
        return move_boxes(results | {"frames": frames}, lambda boxes: boxes * factor)


@TRANSFORMS.register_module()
class RandomResizedCrop(BaseTransform):
    """Crop a random part, drawn as by torchvision, and resize it (bicubic).

    Args:
        size: A side, or (height, width), of the output.
        scale: Least and greatest share of the area (published: 0.2 to 1 in pre-training, 0.5 to 1 in fine-tuning).
        ratio: Least and greatest width / height of the part.
        min_inside: A pair with a box stays if more than this share of its box is inside.
        per_frame: Another crop for every frame of a clip, as published. Frames then do not match each other.
        backend: As of :class:`Resize`.
    """

    def __init__(
        self,
        size: Size,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        min_inside: float = 0.5,
        per_frame: bool = False,
        backend: str = "torch",
    ) -> None:
        # slow to import; here and not where it is used, so that forked data workers have it already
        from torchvision.transforms import RandomResizedCrop as TorchvisionCrop

        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {tuple(scale)}; expected the least and the greatest share, e.g. (0.2, 1.0)")
        self._draw_crop = TorchvisionCrop.get_params
        self.size, self.scale, self.ratio = parse_size(size), list(scale), list(ratio)
        self.min_inside, self.per_frame, self.backend = min_inside, per_frame, checked_backend(backend)

    def transform(self, results: Record) -> Record:
        """Crop and resize frames and boxes.

        Raises:
            RecordError: If all pairs had boxes and all of them are outside.
            ValueError: If the record has boxes and crops differ from frame to frame.
        """
        frames = results["frames"]
        if len(frames) > 1 and (self.per_frame or are_separate_images(results)):
            check_no_boxes(results, "RandomResizedCrop" + "(per_frame=True)" * self.per_frame)
            crop_boxes = [self.draw(frame) for frame in frames]
        else:
            crop_boxes = [self.draw(frames[0])] * len(frames)
            results = self._crop_boxes(results, crop_boxes[0])
        cropped = [crop(frame, box) for frame, box in zip(frames, crop_boxes, strict=True)]
        frames = [resize(frame, self.size, self.backend) for frame in cropped]
        return move_boxes(results | {"frames": frames}, lambda boxes: boxes)

    def draw(self, frame: np.ndarray) -> CropBox:
        """A random crop of the frame, (x0, y0, x1, y1) in pixels."""
        shape_only = torch.empty((3, *frame.shape[:2]), device="meta")
        top, left, height, width = self._draw_crop(shape_only, self.scale, self.ratio)
        return left, top, left + width, top + height

    def _crop_boxes(self, results: Record, crop_box: CropBox) -> Record:
        if not any(results.get("has_box", ())):
            return results
        boxes, share = clip_boxes(results["boxes_xyxy_px"], crop_box)
        stays = (share > self.min_inside) | ~np.array(results["has_box"])
        if not stays.any():
            raise RecordError(results["where"], "no box is inside the random crop; crop around one with PickRegions")
        width, height = crop_box[2] - crop_box[0], crop_box[3] - crop_box[1]
        factor = np.array([self.size[1] / width, self.size[0] / height] * 2, np.float32)
        lists = [key for key in ("texts", "has_box", "ids", "labels", "text_answers") if key in results]
        kept = {key: [v for v, stay in zip(results[key], stays, strict=True) if stay] for key in lists}
        return results | kept | {"boxes_xyxy_px": boxes[stays] * factor}


@TRANSFORMS.register_module()
class Flip(BaseTransform):
    """Mirror left and right.

    Args:
        prob: Probability.
        careful: Never where a text of the record (of its pairs, a caption or attribute of any of its elements, its
            question or one of its answers) mentions left or right. The published image pre-training and retrieval do
            not check (``careful=False``).
        per_frame: Decide for every frame of a clip separately, as published. Frames then do not match each other.
    """

    def __init__(self, prob: float = 0.5, careful: bool = True, per_frame: bool = False) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"prob is {prob}; expected a share from 0 to 1")
        self.prob, self.careful, self.per_frame = prob, careful, per_frame

    def transform(self, results: Record) -> Record:
        """Mirror frames and boxes, or nothing.

        Raises:
            ValueError: If the record has boxes and frames are mirrored separately.
        """
        if self.careful and any(mentions_side(text) for text in texts_of_record(results)):
            return results
        frames = results["frames"]
        if len(frames) > 1 and (self.per_frame or are_separate_images(results)):
            check_no_boxes(results, "Flip" + "(per_frame=True)" * self.per_frame)
            return results | {"frames": [mirror(f) if random.random() < self.prob else f for f in frames]}
        if random.random() >= self.prob:
            return results
        width = frame_size(results)[1]
        flipped = results | {"frames": [mirror(frame) for frame in frames]}
        return move_boxes(flipped, lambda boxes: flip_boxes(boxes, width))
