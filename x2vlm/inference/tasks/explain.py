"""What a text rests on in an image: Grad-CAM and attention maps of the fusion encoder's cross-attention.

Shape letters: L tokens, N tokens of the image (the summary first).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from x2vlm.evaluation.grad_cam import check_method, fusion_layer, token_maps
from x2vlm.inference.processor import Processor
from x2vlm.models.encode import encode_pixels


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
        ValueError: If there is no such layer, method, or word in the text, or no word of it has a gradient.
    """
    check_method(method)
    chosen = fusion_layer(model, layer, "explain")
    last = len(model.fusion_encoder.layer) - 1
    layer = last - 1 if layer is None and chosen == last > 0 else chosen
    ids, mask = processor.captions([text])
    tokens = word_tokens(processor, ids[0], word)
    if method == "gradcam" and layer == last:  # the logit reads [CLS] alone, and later layers bring no words into it
        if word is not None:
            raise ValueError(
                f"Grad-CAM of a word has no gradient in layer {layer}, the last of the fusion encoder: only [CLS] "
                "reaches the logit. Use an earlier layer, leave the word out, or use method 'attention'."
            )
        tokens = [0]
    heat, probability = cross_attention_map(model, processor.images([image]), ids, mask, tokens, layer, method)
    grid = tuple(model.vision_encoder.grid)
    heat = heat.reshape(grid).numpy()
    return Explanation(text, word, heat / heat.max() if heat.max() > 0 else heat, layer, method, probability, image)


def cross_attention_map(
    model: Any, pixels: Tensor, ids: Tensor, mask: Tensor, tokens: list[int], layer: int, method: str = "gradcam"
) -> tuple[Tensor, float]:
    """How much some tokens of a text attend to each patch, ``[N - 1]``, and the probability of matching.

    The mean over tokens of :func:`~x2vlm.evaluation.grad_cam.token_maps`.

    Args:
        model: A model with objective ``itm``.
        pixels: ``[1, 3, H, W]``.
        ids: ``[1, L]``.
        mask: ``[1, L]`` bool.
        tokens: Positions of the tokens.
        layer: Of the fusion encoder, from 0.
        method: ``gradcam`` or ``attention``.
    """
    with torch.no_grad():
        image_tokens, summary = encode_pixels(model, pixels.to(model.device))
        image_states = torch.cat([summary[:, None], image_tokens], dim=1)[0]
        text = model.encode_text(ids, mask)
    heat, probability = token_maps(model, image_states, text, layer, method)
    return heat[0, tokens].mean(dim=0).cpu(), float(probability)


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
