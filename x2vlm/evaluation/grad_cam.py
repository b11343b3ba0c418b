"""Grad-CAM of the fusion encoder's cross-attention: which patches make a text match an image.

Shape letters: T texts of one image, L tokens, N tokens of the image (the summary first), H heads, D width.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from x2vlm.argument_checks import suggestion
from x2vlm.evaluation.required_objective import require_objective
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.fusion.one_image import read_with_image
from x2vlm.models.outputs import TextStates

METHODS = ("gradcam", "attention")

Score = Callable[[Tensor], Tensor]
"""``[T, 2]`` matching logits -> ``[T]``, what gradients are taken of."""


def match_logit(logits: Tensor) -> Tensor:
    """The logit of class 1, "match", as in the published grounding."""
    return logits[:, 1]


def match_margin(logits: Tensor) -> Tensor:
    """The logit of "match" less that of "no match": the logarithm of the odds."""
    return logits[:, 1] - logits[:, 0]


def check_method(method: str) -> None:
    """Refuse a method that is not known.

    Raises:
        ValueError: If there is none of that name.
    """
    if method not in METHODS:
        raise ValueError(f"method is {method!r}.{suggestion(method, METHODS)} Accepted: {', '.join(METHODS)}.")


def fusion_layer(model: Any, layer: int | None, user: str) -> int:
    """The layer of the fusion encoder whose cross-attention is mapped; the middle one for None.

    Args:
        model: The model.
        layer: From 0.
        user: What needs it, for the message.

    Raises:
        ValueError: If there is no such layer, the fusion encoder is of another kind, or the model matches nothing.
    """
    require_objective(model, "itm", user)
    if not isinstance(model.fusion_encoder, CrossAttentionFusion):
        raise ValueError(
            f"{user} reads the cross-attention of CrossAttentionFusion, but this model's fusion encoder is "
            f"{type(model.fusion_encoder).__name__}."
        )
    depth = len(model.fusion_encoder.layer)
    layer = depth // 2 if layer is None else layer
    if not 0 <= layer < depth:
        raise ValueError(f"layer is {layer}, but the fusion encoder has layers 0 to {depth - 1}.")
    return layer


def token_maps(
    model: Any,
    image_states: Tensor,
    text: TextStates,
    layer: int,
    method: str = "gradcam",
    score: Score = match_margin,
) -> tuple[Tensor, Tensor]:
    """How much each token of each text attends to each patch of an image, averaged over heads.

    Grad-CAM weighs each head's attention with the gradient of the matching score (ALBEF, arXiv:2107.07651, Sec. 5);
    what is negative counts 0. The weights of the model get no gradient.

    Args:
        model: A model with objective ``itm`` and a ``CrossAttentionFusion``.
        image_states: ``[N, D]``, the summary first.
        text: ``[T, L, D]`` states of the texts.
        layer: Of the fusion encoder, from 0.
        method: ``gradcam`` or ``attention``.
        score: What gradients are taken of.

    Returns:
        ``[T, L, N - 1]``, which has no meaning at padding, and the probabilities of a match, ``[T]``; both fp32.
    """
    kept: list[Tensor] = []

    def probe(number: int, probabilities: Tensor) -> Tensor:
        if number != layer:
            return probabilities
        kept.append(probabilities.detach().requires_grad_(method == "gradcam"))
        return kept[0]

    with torch.no_grad():
        keys_values = [tuple(each.detach() for each in pair) for pair in model.fusion_encoder.project(image_states)]
    with torch.enable_grad():
        layers = model.fusion_encoder.layer
        hidden = read_with_image(layers, text.embeds.detach(), text.mask, keys_values, probe)
        logits = model.objectives["itm"].score(hidden[:, 0])
        attention = kept[0]  # [T, H, L, N]
        if method == "gradcam":
            (gradient,) = torch.autograd.grad(score(logits).sum(), attention)
            attention = attention * gradient.clamp(min=0)
    return attention.detach().mean(dim=1)[..., 1:].float(), logits.detach().float().softmax(dim=-1)[:, 1]
