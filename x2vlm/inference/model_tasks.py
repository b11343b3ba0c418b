"""What a model can be asked, by the parts and objectives that it has; and whether its answers can mean anything."""

from typing import Any

import torch


def tasks_of(model: Any) -> tuple[str, ...]:
    """Names of the methods of :class:`~x2vlm.inference.inferencer.Inferencer` that a model can serve."""
    objectives = set(model.objectives)
    vision, text = model.vision_encoder is not None, model.text_encoder is not None
    both, shared_space = vision and text, model.text_proj is not None and model.vision_proj is not None
    possible = {
        "encode_image": vision and model.vision_proj is not None,
        "encode_text": text and model.text_proj is not None,
        "match": both and (shared_space or "itm" in objectives),
        "retrieve": both and shared_space,
        "ground": both and "bbox" in objectives,
        "answer": both and "answer" in objectives,
        "caption": both and "caption" in objectives,
        "classify": "classification" in objectives,
        "attributes": both and (shared_space or "itm" in objectives),
        "explain": both and "itm" in objectives and hasattr(model.fusion_encoder, "project"),
    }
    return tuple(name for name, is_possible in possible.items() if is_possible)


def check_finite_weights(model: Any) -> None:
    """Refuse a model whose answers would mean nothing.

    Raises:
        ValueError: If a parameter or buffer is NaN or infinite.
    """
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(
                f"weight {name} of the model is not finite: its training failed, or the file is damaged. "
                "Use an earlier checkpoint."
            )
