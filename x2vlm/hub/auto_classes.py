"""Transformers' ``AutoConfig``, ``AutoModel`` and ``AutoProcessor`` for folders that ``save_pretrained`` wrote.

``import x2vlm.hub.auto_classes`` registers them::

    import x2vlm.hub.auto_classes
    from transformers import AutoModel, AutoProcessor

    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    outputs = model(**processor(images=[image], text=["a red car"]))

Shape letters: B images, T texts, P pairs, L tokens, E embed_dim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoProcessor, BatchFeature, PreTrainedModel
from transformers.configuration_utils import PretrainedConfig
from transformers.utils import ModelOutput

from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.data.batch import Batch
from x2vlm.inference.processor import Preprocessing, Processor
from x2vlm.models.pretrained.pretrained_model import MODEL_TYPE, load_pretrained, local_folder
from x2vlm.registry import TOKENIZERS


class X2VLMConfig(PretrainedConfig):
    """The config of a model folder.

    Attributes:
        model: The config of the model, as this library has it.
        tokenizer: That of its tokenizer; None for a model of images alone.
        preprocessing: How images and texts are prepared.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        model: dict[str, Any] | None = None,
        tokenizer: dict[str, Any] | None = None,
        preprocessing: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.model, self.tokenizer, self.preprocessing = model, tokenizer, preprocessing
        super().__init__(**kwargs)


@dataclass
class X2VLMOutput(ModelOutput):
    """What a model says of images and texts.

    Attributes:
        image_embeds: ``[B, E]``, L2-normalised; None where the model has no shared space.
        text_embeds: ``[T, E]``, likewise.
        logits_per_image: ``[B, T]`` cosines divided by the temperature.
        match_logits: ``[P, 2]`` of the pairs (does not match, matches), where the model has objective ``itm``.
        pred_boxes: ``[P, 4]`` of the pairs, xyxy in 0..1, where it has objective ``bbox``.
    """

    image_embeds: Tensor | None = None
    text_embeds: Tensor | None = None
    logits_per_image: Tensor | None = None
    match_logits: Tensor | None = None
    pred_boxes: Tensor | None = None


class X2VLMModel(PreTrainedModel):
    """A model of this library as transformers has models; ``x2vlm`` is the model itself.

    Args:
        config: Its config.
        x2vlm: The model, built.
    """

    config_class = X2VLMConfig
    base_model_prefix = "x2vlm"
    main_input_name = "pixel_values"

    def __init__(self, config: X2VLMConfig, x2vlm: Any) -> None:
        super().__init__(config)
        self.x2vlm = x2vlm

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | PathLike, *args: Any, **kwargs: Any) -> "X2VLMModel":
        """The model of a folder, or of a repository on the hub (which is then downloaded)."""
        folder = local_folder(pretrained_model_name_or_path, **hub_options(kwargs, ("dtype", "torch_dtype")))
        model = cls(X2VLMConfig.from_pretrained(folder), load_pretrained(folder)).eval()
        dtype = kwargs.get("dtype", kwargs.get("torch_dtype"))
        return model if dtype in (None, "auto") else model.to(dtype)

    def save_pretrained(self, save_directory: str | PathLike, *args: Any, **kwargs: Any) -> None:
        """Write a folder that this class and ``X2VLM.from_pretrained`` read."""
        self.x2vlm.save_pretrained(save_directory)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        boxes: Tensor | None = None,
        return_dict: bool = True,
    ) -> X2VLMOutput | tuple:
        """Features of images and texts, and what their pairs say.

        Args:
            pixel_values: ``[B, 3, H, W]``, or ``[B, F, 3, H, W]`` clips.
            input_ids: ``[T, L]``.
            attention_mask: ``[T, L]``, 1 at real tokens; all if not given.
            image_index: ``[T]``, which image each text is paired with; by default the first with the first and so on
                where there are as many, and all with the image where there is one.
            boxes: ``[T, 4]`` xyxy in 0..1: pair the text with this region of its image.
            return_dict: False gives a tuple.
        """
        model, output = self.x2vlm, X2VLMOutput()
        if pixel_values is not None and model.vision_encoder is not None:
            everything = Batch(None, None, pixels=pixel_values, owner=torch.arange(len(pixel_values)))
            output.image_embeds = model.encode_context(everything.to(self.device)).feat
        if input_ids is not None and model.text_encoder is not None:
            mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            output.text_embeds = model.encode_text(input_ids, mask.bool()).feat
            if pixel_values is not None:
                owner = pairs(image_index, len(pixel_values), len(input_ids))
                if owner is not None:
                    self._pairs(output, pixel_values, input_ids, mask.bool(), owner, boxes)
        if output.image_embeds is not None and output.text_embeds is not None:
            output.logits_per_image = output.image_embeds @ output.text_embeds.T / model.temperature
        return output if return_dict else output.to_tuple()

    def _pairs(
        self, output: X2VLMOutput, pixels: Tensor, ids: Tensor, mask: Tensor, owner: Tensor, boxes: Tensor | None
    ) -> None:
        model = self.x2vlm
        whole = torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(len(ids), 4)
        boxes = whole if boxes is None else boxes
        has_box = torch.zeros(len(ids), dtype=torch.bool)
        batch = Batch(ids, mask, pixels=pixels, owner=owner, boxes_xyxy=boxes, has_box=has_box).to(self.device)
        encoded = model.encode(batch)
        if "itm" in model.objectives:
            fused = model.fuse(encoded.context, encoded.text, at=0)
            output.match_logits = model.objectives["itm"].score(fused)
        if "bbox" in model.objectives:
            (fused,) = model.read(model.objectives["bbox"].requests(encoded))
            output.pred_boxes = cxcywh_to_xyxy(model.objectives["bbox"].box(fused.states)).clamp(0, 1)


HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")
HANDED_ON = ("config", "trust_remote_code", "code_revision", "adapter_kwargs", "subfolder")  # by the Auto classes


def hub_options(given: Mapping[str, Any], known: Sequence[str] = ()) -> dict[str, Any]:
    """Options for downloading a repository.

    Raises:
        ValueError: If there is an option that would do nothing here.
    """
    lost = [name for name in given if not name.startswith("_") and name not in (*HUB_OPTIONS, *HANDED_ON, *known)]
    if lost:
        accepted = ", ".join((*HUB_OPTIONS, *known))
        raise ValueError(f"{', '.join(lost)} would do nothing for this model. Accepted: {accepted}.")
    return {name: given[name] for name in HUB_OPTIONS if name in given}


def pairs(image_index: Tensor | None, images: int, texts: int) -> Tensor | None:
    """``[T]``, the image of each text; None where it is not clear.

    Raises:
        ValueError: If an index is given for other texts, or of no image.
    """
    if image_index is None:
        return torch.zeros(texts, dtype=torch.long) if images == 1 else torch.arange(texts) if images == texts else None
    if len(image_index) != texts or (texts and not 0 <= int(image_index.min()) <= int(image_index.max()) < images):
        raise ValueError(
            f"image_index has {len(image_index)} entries up to {int(image_index.max())}; expected one for each of the "
            f"{texts} texts, below the number of images, {images}."
        )
    return image_index.long()


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


AutoConfig.register(MODEL_TYPE, X2VLMConfig, exist_ok=True)
AutoModel.register(X2VLMConfig, X2VLMModel, exist_ok=True)
AutoProcessor.register(X2VLMConfig, X2VLMProcessor, exist_ok=True)
