"""The parts of a model as modules of tensors alone, which torch.export can trace.

An image and a text pass their towers once. The image's keys and values are projected once for every layer of the fusion
encoder; any number of texts are then read with them.

Shape letters: B images, T texts, L tokens of a text, N tokens of an image (the summary first), D width, E embed_dim,
K layers of the fusion encoder, H heads, d width of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.models.contexts import feature
from x2vlm.models.encode import encode_pixels
from x2vlm.models.fusion.one_image import read_with_image


class ImageTower(nn.Module):
    """``pixels [B, 3, H, W]`` -> ``tokens [B, N, D]``, the summary first; and ``feat [B, E]`` where there is one.

    Clips are ``[B, F, 3, H, W]``.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        tokens, summary = encode_pixels(self.model, pixels)
        whole = torch.cat([summary[:, None], tokens], dim=1)
        feat = feature(self.model.vision_proj, summary)
        return (whole,) if feat is None else (whole, feat)


class TextTower(nn.Module):
    """``text_ids [T, L]`` and ``text_mask [T, L]`` (bool) -> ``text_states [T, L, D]``, and ``feat [T, E]``."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, text_ids: Tensor, text_mask: Tensor) -> tuple[Tensor, ...]:
        states = self.model.text_encoder(text_ids, text_mask)
        feat = feature(self.model.text_proj, states[:, 0])
        return (states,) if feat is None else (states, feat)


class ContextKeys(nn.Module):
    """``tokens [N, D]`` of one image -> its ``keys`` and ``values [K, H, N, d]`` for every fusion layer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.fusion = model.fusion_encoder

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        keys_values = self.fusion.project(tokens)
        return tuple(torch.stack(each) for each in zip(*keys_values, strict=True))


class FusionHead(nn.Module):
    """Texts with the keys and values of one image -> one number, or one box, a text.

    Args:
        model: The model.
        objective: ``itm``: ``[T]`` logits, of matching minus of not matching (the probability is its sigmoid);
            ``bbox``: ``[T, 4]`` boxes, xyxy in 0..1 of the image.
    """

    def __init__(self, model: Any, objective: str) -> None:
        super().__init__()
        self.layers = model.fusion_encoder.layer
        self.objective, self.head = objective, model.objectives[objective]

    def forward(self, text_states: Tensor, text_mask: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        keys_values = list(zip(keys.unbind(), values.unbind(), strict=True))
        summary = read_with_image(self.layers, text_states, text_mask, keys_values)[:, 0]
        if self.objective == "itm":
            logits = self.head.score(summary)
            return logits[:, 1] - logits[:, 0]
        return cxcywh_to_xyxy(self.head.box(summary)).clamp(0, 1)


def graphs_of(model: Any) -> dict[str, nn.Module]:
    """The graphs that a model has parts for, by name.

    ``image``, ``text``; with a fusion encoder of the library's own ``context`` (keys and values), and ``matching`` and
    ``boxes`` where the model has objectives ``itm`` and ``bbox``.
    """
    graphs: dict[str, nn.Module] = {}
    if model.vision_encoder is not None:
        graphs["image"] = ImageTower(model)
    if model.text_encoder is not None:
        graphs["text"] = TextTower(model)
    if len(graphs) == 2 and hasattr(model.fusion_encoder, "project"):
        heads = {name: kind for name, kind in (("matching", "itm"), ("boxes", "bbox")) if kind in model.objectives}
        graphs |= {"context": ContextKeys(model)} if heads else {}
        graphs |= {name: FusionHead(model, kind) for name, kind in heads.items()}
    return graphs


NAMES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "image": (("pixels",), ("tokens", "feat")),
    "text": (("text_ids", "text_mask"), ("text_states", "feat")),
    "context": (("tokens",), ("keys", "values")),
    "matching": (("text_states", "text_mask", "keys", "values"), ("logit",)),
    "boxes": (("text_states", "text_mask", "keys", "values"), ("box_xyxy",)),
}
"""Names of inputs and outputs of each graph, in order."""
