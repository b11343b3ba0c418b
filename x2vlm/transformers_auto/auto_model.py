"""Transformers' ``AutoModel`` for model folders: features of images and texts, matching logits and boxes of pairs.

Shape letters: B images, T texts, P pairs, L tokens, E embed_dim.
"""

from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import ModelOutput

from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.data.batch import Batch
from x2vlm.models.pretrained.hub_repository import local_folder
from x2vlm.models.pretrained.model_folder import load_pretrained
from x2vlm.transformers_auto.auto_config import X2VLMConfig, hub_options


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
