"""The three towers of a model from their configs, each with the sizes that follow from the others."""

from typing import Any

from torch import nn

from x2vlm.building import ConfigError, build
from x2vlm.models.tower_contract import check_tower
from x2vlm.registry import FUSION_ENCODERS, TEXT_ENCODERS, VISION_ENCODERS

Tower = nn.Module | None


def build_towers(
    vision_encoder: Any, text_encoder: Any, fusion_encoder: Any, tokenizer: Any, attention: str, shapes: str
) -> tuple[Tower, Tower, Tower]:
    """Vision, text and fusion encoder; None where None is given.

    Args:
        vision_encoder: Built or a config.
        text_encoder: Built or a config; gets the size of the tokenizer's vocabulary.
        fusion_encoder: Built or a config; gets the widths of the other two.
        tokenizer: The tokenizer of the texts, or None.
        attention: Attention backend of those whose config names none.
        shapes: See :class:`~x2vlm.models.x2vlm.X2VLM`.

    Raises:
        ConfigError: If a part cannot be built, or breaks the contract of its family.
    """
    common = {"attention": attention, "shapes": shapes}
    vocabulary = {} if tokenizer is None else {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    vision = text = fusion = None
    if vision_encoder is not None:
        vision = build(VISION_ENCODERS, vision_encoder, "model.vision_encoder", attention=attention)
    if text_encoder is not None:
        text = build(TEXT_ENCODERS, text_encoder, "model.text_encoder", **common, **vocabulary)
    check_tower("vision_encoder", vision)
    check_tower("text_encoder", text)
    if vocabulary and text is not None and text.vocab_size < vocabulary["vocab_size"]:
        raise ConfigError(
            f"{type(text).__name__} knows {text.vocab_size} words, and the tokenizer has {vocabulary['vocab_size']}. "
            "Leave vocab_size out, and it is derived.",
            "model.text_encoder",
        )
    if fusion_encoder is not None:
        widths = {"width": getattr(text, "width", None), "context_width": _context_width(vision, text)}
        fusion = build(FUSION_ENCODERS, fusion_encoder, "model.fusion_encoder", **common, **widths)
        check_tower("fusion_encoder", fusion, *widths.values())
    return vision, text, fusion


def objective_arguments(vision: Tower, text: Tower, fusion: Tower, tokenizer: Any, attention: str) -> dict[str, Any]:
    """What objectives are given where their constructors name it: widths, the vocabulary, the tokenizer."""
    words = getattr(text, "word_embeddings", None)
    return {
        "width": getattr(fusion, "width", getattr(text, "width", None) or getattr(vision, "width", None)),
        "text_width": getattr(text, "width", None),
        "context_width": _context_width(vision, text),
        "vocab_size": getattr(text, "vocab_size", None),
        "word_width": None if words is None else words.shape[-1],
        "tokenizer": tokenizer,
        "attention": attention,
        "init_from": getattr(text, "source", None),
    }


def _context_width(vision: Tower, text: Tower) -> int | None:
    return getattr(vision, "width", None) or getattr(text, "width", None)


def build_projection(width: int | None, embed_dim: int | None) -> nn.Linear | None:
    """From a tower of a width to the shared space; None where either is missing.

    Raises:
        ValueError: If ``embed_dim`` is below 0.
    """
    if embed_dim is not None and embed_dim < 0:
        raise ValueError(f"embed_dim is {embed_dim}; expected the width of the shared space, or None for no such.")
    return nn.Linear(width, embed_dim) if embed_dim and width else None
