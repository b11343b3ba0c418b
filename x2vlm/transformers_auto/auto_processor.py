"""Transformers' ``AutoProcessor`` for model folders."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature

from x2vlm.inference.preprocessing import Preprocessing
from x2vlm.inference.processor import Processor
from x2vlm.models.pretrained.hub_repository import local_folder
from x2vlm.registry import TOKENIZERS
from x2vlm.transformers_auto.auto_config import X2VLMConfig, hub_options
from x2vlm.transformers_auto.auto_model import pairs


class X2VLMProcessor:
    """Tensors of images, texts and boxes, prepared as the model's evaluation does.

    Args:
        processor: What prepares them.
    """

    attributes = ("tokenizer",)

    def __init__(self, processor: Processor) -> None:
        self.processor, self.tokenizer = processor, processor.tokenizer

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, **kwargs: Any) -> "X2VLMProcessor":
        """The processor of a model folder, or of a repository on the hub."""
        folder = local_folder(pretrained_model_name_or_path, **hub_options(kwargs))
        config = X2VLMConfig.from_pretrained(folder)
        tokenizer = None
        if config.tokenizer is not None:
            tokenizer = TOKENIZERS.build(dict(type="HFTokenizer", path=str(Path(folder) / config.tokenizer["path"])))
        return cls(Processor(tokenizer, Preprocessing.from_dict(config.preprocessing or {})))

    def __call__(
        self,
        images: Any = None,
        text: str | Sequence[str] | None = None,
        boxes: Sequence[Sequence[float]] | None = None,
        image_index: Sequence[int] | None = None,
        videos: Any = None,
        return_tensors: str = "pt",
    ) -> BatchFeature:
        """A batch for :class:`X2VLMModel`.

        Args:
            images: One image or a list, in any form that :func:`~x2vlm.inference.inputs.as_image` reads.
            text: One text or a list.
            boxes: For each text a region of its image, xyxy in pixels of the image as it was given.
            image_index: For each text its image, where that is not clear; see :meth:`X2VLMModel.forward`.
            videos: Clips instead of images: a list of paths, or of lists of frames.
            return_tensors: ``pt``.

        Raises:
            ValueError: If the options do not go together.
        """
        if return_tensors != "pt":
            raise ValueError(f"return_tensors is {return_tensors!r}; only 'pt' is known.")
        values: dict[str, Any] = {}
        given = [images] if images is not None and not isinstance(images, list | tuple) else images
        if given is not None:
            values["pixel_values"] = self.processor.images(given)
        if videos is not None:
            values["pixel_values"] = self.processor.clips(videos)
        if text is not None:
            ids, mask = self.processor.captions([text] if isinstance(text, str) else list(text))
            values |= {"input_ids": ids, "attention_mask": mask.long()}
        if image_index is not None:
            values["image_index"] = torch.as_tensor(image_index, dtype=torch.long)
        if boxes is not None:
            values["boxes"] = self._boxes(boxes, given, values)
        return BatchFeature(values)

    def _boxes(self, boxes: Any, images: Any, values: dict[str, Any]) -> Tensor:
        if images is None or "input_ids" not in values:
            raise ValueError("boxes say which region of an image each text is about: give images and text as well.")
        owner = pairs(values.get("image_index"), len(images), len(values["input_ids"]))
        given = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
        if owner is None or len(given) != len(owner):
            raise ValueError(f"{len(given)} boxes were given for {len(values['input_ids'])} texts; expected one each.")
        sizes = torch.tensor([self.processor.read(image).shape[1::-1] for image in images], dtype=torch.float32)
        return (given / sizes[owner].repeat(1, 2)).clamp(0, 1)

    def batch_decode(self, *args: Any, **kwargs: Any) -> list[str]:
        """The tokenizer's."""
        return self.tokenizer.batch_decode(*args, **kwargs)
