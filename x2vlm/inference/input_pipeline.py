"""One image or clip with texts, made a batch by the data pipeline of an evaluation."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch, Sample
from x2vlm.data.transforms.frames import SampleFrames
from x2vlm.data.transforms.labels import AnswerLabel, PickAnswers, PickLabel
from x2vlm.data.transforms.regions import PickPhrases, PickRegions
from x2vlm.inference.draw_boxes import ImageSource, to_rgb_array


class InputPipeline:
    """The transforms of an evaluation, for inputs without labels.

    Args:
        pipeline: Transforms from a record to a sample, built; those that read labels are left out.
        collate: Makes a batch of samples, built.
        image_size: Height and width that the model takes; None for any.

    Attributes:
        steps: The transforms that are applied.
        video: Whether the input is a clip.
    """

    def __init__(
        self, pipeline: Sequence[Callable], collate: Callable, image_size: Sequence[int] | None = None
    ) -> None:
        self.steps = [step for step in pipeline if not isinstance(step, (PickAnswers, AnswerLabel, PickLabel))]
        self.video = any(isinstance(step, SampleFrames) for step in self.steps)
        self.collate, self.image_size = collate, image_size
        self._region_step = next((step for step in self.steps if isinstance(step, (PickPhrases, PickRegions))), None)

    def batch(self, image: ImageSource | Sequence[ImageSource], texts: Sequence[str]) -> Batch:
        """A batch that pairs every text with the whole image.

        Raises:
            ValueError: If there are no texts, or the pipeline gives an image of another size than the model takes.
            RecordError: If the image is broken, or nothing is left of a text.
        """
        if isinstance(texts, str) or not texts:
            raise ValueError(f"expected one text or more in a sequence, got {texts!r}.")
        media = self._media(image)
        sample = self._sample(media, texts)
        if len(sample.texts) != len(texts):  # the pipeline selects one caption of several: apply it text by text
            samples = [self._sample(media, [text]) for text in texts]
            count = len(texts)
            sample = replace(
                sample,
                texts=[each.texts[0] for each in samples],
                ids=[],
                boxes_xyxy=torch.zeros(count, 4),
                has_box=torch.zeros(count, dtype=torch.bool),
            )
        self._check_size(sample.pixels)
        batch = self.collate([sample])
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(texts), 4)
        return replace(batch, boxes_xyxy=whole, has_box=torch.zeros(len(texts), dtype=torch.bool), patch_mask=None)

    def _media(self, image: ImageSource | Sequence[ImageSource]) -> dict[str, Any]:
        """The record field that the pipeline loads the image or clip from."""
        if not self.video:
            return {"image": to_rgb_array(image)}
        if isinstance(image, str | PathLike):
            return {"video": image}
        return {"video": [to_rgb_array(frame) for frame in image]}

    def _sample(self, media: dict[str, Any], texts: Sequence[str]) -> Sample:
        if self._region_step is not None:
            kind = {"kind": self._region_step.kinds[0]} if self._region_step.kinds else {}
            fields = {"elems": [{"bb": (0, 0, 1, 1), "caption": text} | kind for text in texts]}
        else:
            fields = {"caption": list(texts), "question": list(texts)}
        result: Any = {"where": "the given texts", "id": "image", "extras": {}} | fields | media
        for step in self.steps:
            result = step(result)
        return result

    def _check_size(self, pixels: Tensor) -> None:
        size = tuple(pixels.shape[-2:])
        if self.image_size is not None and size != tuple(self.image_size):
            height, width = self.image_size
            raise ValueError(
                f"the evaluation's pipeline gives an image of {size[0]}x{size[1]} but the model takes {height}x{width}"
                f". Put dict(type='Resize', size={(height, width)}) before PackSample there."
            )
