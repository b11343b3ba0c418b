"""What a text rests on in an image: Grad-CAM and attention maps of the fusion encoder's cross-attention.

Shape letters: L tokens, N tokens of the image (the summary first), H heads.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.inference.processor import Processor
from x2vlm.models.encode import encode_pixels
from x2vlm.models.fusion.one_image import read_with_image

METHODS = ("gradcam", "attention")


@dataclass(frozen=True)
class Explanation:
    """A map over an image.

    Attributes:
        text: The text.
        word: The part of it that the map is about; None: all of it.
        heat: ``[rows, columns]`` of the patch grid, 0..1; the greatest is 1, unless all are 0.
        layer: The layer of the fusion encoder, from 0.
        method: ``gradcam`` or ``attention``.
        probability: That text and image match, 0..1.
        image: ``[H, W, 3]`` uint8, the image.
    """

    text: str
    word: str | None
    heat: np.ndarray
    layer: int
    method: str
    probability: float
    image: np.ndarray

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; without the image."""
        return {
            "text": self.text,
            "word": self.word,
            "layer": self.layer,
            "method": self.method,
            "probability": round(self.probability, 6),
            "heat": [[round(float(value), 4) for value in row] for row in self.heat],
        }

    def draw(self, strength: float = 0.5) -> Image.Image:
        """The image with the map over it, from blue (0) to red (1)."""
        height, width = self.image.shape[:2]
        heat = cv2.resize(self.heat.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        colours = cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_JET)[:, :, ::-1]
        mixed = self.image * (1 - strength) + colours * strength
        return Image.fromarray(mixed.round().astype(np.uint8))

    def __str__(self) -> str:
        row, column = np.unravel_index(self.heat.argmax(), self.heat.shape)
        about = self.text if self.word is None else f"{self.word} (in {self.text!r})"
        return f"{about}: most in row {row}, column {column} of {self.heat.shape[0]}x{self.heat.shape[1]} patches"


def explain(
    model: Any,
    processor: Processor,
    image: np.ndarray,
    text: str,
    word: str | None = None,
    layer: int | None = None,
    method: str = "gradcam",
) -> Explanation:
    """See :meth:`~x2vlm.inference.inferencer.Inferencer.explain`.

    Raises:
        ValueError: If there is no such layer, method, or word in the text.
    """
    depth = len(model.fusion_encoder.layer)
    layer = depth // 2 if layer is None else layer
    if method not in METHODS:
        raise ValueError(f"method is {method!r}.{suggestion(method, METHODS)} Accepted: {', '.join(METHODS)}.")
    if not 0 <= layer < depth:
        raise ValueError(f"layer is {layer}, but the fusion encoder has layers 0 to {depth - 1}.")
    ids, mask = processor.captions([text])
    tokens = word_tokens(processor, ids[0], word)
    heat, probability = cross_attention_map(model, processor.images([image]), ids, mask, tokens, layer, method)
    grid = tuple(model.vision_encoder.grid)
    heat = heat.reshape(grid).numpy()
    return Explanation(text, word, heat / heat.max() if heat.max() > 0 else heat, layer, method, probability, image)


def cross_attention_map(
    model: Any, pixels: Tensor, ids: Tensor, mask: Tensor, tokens: list[int], layer: int, method: str = "gradcam"
) -> tuple[Tensor, float]:
    """How much some tokens of a text attend to each patch, ``[N - 1]``, and the probability of matching.

    Grad-CAM weighs each head's attention with the gradient of the matching logit (ALBEF, arXiv:2107.07651, Sec. 5);
    what is negative counts 0. Heads and tokens are averaged.

    Args:
        model: A model with objective ``itm``.
        pixels: ``[1, 3, H, W]``.
        ids: ``[1, L]``.
        mask: ``[1, L]`` bool.
        tokens: Positions of the tokens.
        layer: Of the fusion encoder, from 0.
        method: ``gradcam`` or ``attention``.
    """
    device = model.device
    with torch.no_grad():
        image_tokens, summary = encode_pixels(model, pixels.to(device))
        whole = torch.cat([summary[:, None], image_tokens], dim=1)[0]
        states = model.encode_text(ids, mask).embeds
        keys_values = [tuple(each.detach() for each in pair) for pair in model.fusion_encoder.project(whole)]
    kept: list[Tensor] = []

    def probe(number: int, probabilities: Tensor) -> Tensor:
        if number != layer:
            return probabilities
        leaf = probabilities.detach().requires_grad_(method == "gradcam")
        kept.append(leaf)
        return leaf

    with torch.enable_grad():
        hidden = read_with_image(model.fusion_encoder.layer, states, mask.to(device), keys_values, probe)
        logits = model.objectives["itm"].score(hidden[:, 0])[0]
        attention = kept[0]
        if method == "gradcam":
            (gradient,) = torch.autograd.grad(logits[1] - logits[0], attention)
            attention = attention * gradient.clamp(min=0)
    weights = attention.detach()[0].mean(dim=0)[tokens].mean(dim=0)  # [N]
    return weights[1:].float().cpu(), float(logits.detach().softmax(dim=-1)[1])


def word_tokens(processor: Processor, ids: Tensor, word: str | None) -> list[int]:
    """Positions of the tokens of a word (or several in a row) within a text; all but [CLS] and [SEP] for None.

    Raises:
        ValueError: If the text does not hold it.
    """
    every = list(range(1, len(ids) - 1))
    if word is None:
        return every
    wanted = processor.captions([word])[0][0][1:-1].tolist()
    row = ids.tolist()
    for start in every:
        if row[start : start + len(wanted)] == wanted:
            return list(range(start, start + len(wanted)))
    raise ValueError(f"the text does not hold {word!r} (after clean-up and cutting).")
