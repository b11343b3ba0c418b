"""The last transform of a pipeline: from a record to a ``Sample`` of normalised tensors."""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from torch import Tensor

from x2vlm.data.batch import Sample
from x2vlm.data.record import Record, RecordError, identity
from x2vlm.data.record_contract import frames_problem, pairs_problem
from x2vlm.data.transforms.images.box_geometry import check_no_boxes, normalised_boxes
from x2vlm.data.transforms.images.geometry import are_separate_images
from x2vlm.registry import TRANSFORMS

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@TRANSFORMS.register_module()
class PackSample(BaseTransform):
    """Make a ``Sample`` of the record: frames become normalised tensors, boxes become shares of the frame.

    Args:
        mean: Subtracted from each channel of the image, whose values are 0..1.
        std: Each channel is divided by this.
    """

    def __init__(self, mean: Sequence[float] = CLIP_MEAN, std: Sequence[float] = CLIP_STD) -> None:
        self.mean, self.std = tuple(mean), tuple(std)
        levels = torch.arange(256, dtype=torch.float32).div(255)
        #: ``[3, 256]``: the normalised value of each level of a channel, computed in the steps of torchvision.
        self.values = levels.repeat(3, 1).sub(torch.tensor(mean)[:, None]).div(torch.tensor(std)[:, None]).numpy()

    def transform(self, results: Record) -> Sample:
        """The record as a :class:`~x2vlm.data.batch.Sample`; one without texts has an image only.

        Raises:
            ValueError: If it has not as many boxes and identities as texts, or frames that are no uint8 images.
        """
        if problem := frames_problem(results.get("frames")) or pairs_problem(results):
            raise ValueError(f"{results['where']}: {problem}")
        check_encodable(results)
        sample = Sample(
            where=results["where"],
            texts=results.get("texts", []),
            ids=results.get("ids", [identity(results)]),
            context_text=results.get("context_text"),
            labels=results.get("labels", []),
            answers=results.get("text_answers", []),
            extras=results.get("extras", {}),
        )
        if "frames" in results:
            sample.pixels, sample.num_contexts = self._pixels(results)
        if results.get("masked_patches") is not None:
            sample.masked_patches = torch.as_tensor(results["masked_patches"], dtype=torch.bool)
        if "frames" in results and "texts" in results and sample.num_contexts == 1:
            has_box = np.array(results["has_box"], dtype=bool)
            sample.has_box = torch.from_numpy(has_box)
            sample.boxes_xyxy = torch.from_numpy(normalised_boxes(results, has_box))
        return sample

    def _pixels(self, results: Record) -> tuple[Tensor, int]:
        frames = [self._tensor(frame) for frame in results["frames"]]
        if are_separate_images(results) and len(frames) > 1:
            check_no_boxes(results, "A text that attends to several images")
            sizes = sorted({tuple(frame.shape[1:]) for frame in frames})
            if len(sizes) > 1:
                raise ValueError(f"{results['where']}: its images have several sizes: {sizes}. Resize them alike.")
            return torch.stack(frames), len(frames)
        return (torch.stack(frames) if {"video", "clips"} & results.keys() else frames[0]), 1

    def _tensor(self, frame: np.ndarray) -> Tensor:
        """``[3, H, W]`` normalised, by a look-up table."""
        pixels = torch.empty(3, *frame.shape[:2])
        for plane, values, out in zip(cv2.split(np.ascontiguousarray(frame)), self.values, pixels, strict=True):
            cv2.LUT(plane, values[None], dst=out.numpy())
        return pixels


def check_encodable(results: Record) -> None:
    """Check that every text can be written as UTF-8: JSON can hold half a surrogate pair, which tokenizers refuse.

    Raises:
        RecordError: If one cannot.
    """
    for text in (*results.get("texts", ()), results.get("context_text") or ""):
        for part in text if isinstance(text, tuple) else (text,):
            try:
                part.encode()
            except UnicodeEncodeError as error:
                raise RecordError(results["where"], f"a text holds half a surrogate pair: {part!r:.60}") from error
