"""Which published class a state dict is of, from the names (and a few shapes) of its tensors."""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from x2vlm.weights.published_names import DECODER, HEAD_NAMES, LAYER
from x2vlm.weights.vision_names import vision_encoder_kind, vision_encoder_names

_OUR_NAME = re.compile(
    r"objectives\.|(vision|text)_encoder\.net\.|fusion_encoder\.layer\.|vision_encoder\.(class_token|pre_norm\.)|unused\."
)
_WORD_MATRIX = "word_embeddings.weight"


def is_published(state: Iterable[str]) -> bool:
    """Whether these are names of a published checkpoint, not this library's."""
    return not any(_OUR_NAME.match(name) for name in state)


def count_text_layers(state: Iterable[str]) -> int:
    """Layers of a published ``text_encoder`` below the first with cross-attention; all if none has it."""
    layers = [layer for layer in map(LAYER.match, state) if layer and layer[1] == "text"]
    crossing = [int(layer[2]) for layer in layers if layer[3].startswith("crossattention.")]
    return min(crossing, default=1 + max((int(layer[2]) for layer in layers), default=-1))


def guess_kind(state: Mapping[str, Tensor]) -> str | None:
    """The published class of a state dict, or of the one that ours converts to; None if the names do not decide it."""
    names = set(state)

    def has(*prefixes: str) -> bool:
        return any(name.startswith(prefixes) for name in names)

    if not has("text_encoder.", "objectives.") and has(
        "vision_encoder."
    ):  # a converted vision encoder without the rest of the model
        tower = vision_encoder_kind(vision_encoder_names(names))
        return {"clip": "CLIPVisionTransformer", "swin": "SwinTransformer"}.get(tower)
    if not has("vision_encoder.", "text_encoder."):
        if has("pre_layrnorm."):
            return "CLIPVisionTransformer"
        return "SwinTransformer" if has("layers.0.blocks.") and has("patch_embed.") else None
    if has("fusion_encoder.roberta.", "fusion_encoder.bert.", "objectives.text_mlm."):
        return "XFM"
    if has("cross_encoder.") or "objectives.mlm.decoder.weight" in names:
        return "CrossViewLM"
    if has("text_decoder.", DECODER):
        return "XVLMForVQA"
    if has("objectives.caption.", "crit_mask_lm_smoothed."):
        return "XVLMForMLMCaptioning"
    if has("objectives.mlm.", "text_encoder.cls.", "text_encoder.lm_head."):
        return "XVLM" if has("temp", "itm_head.", "objectives.itm.", "objectives.mlm.") else "XVLMForMLMCaptioning"
    if not has("text_encoder."):
        return None
    for published, ours in HEAD_NAMES:
        if has(published, ours):
            break
    else:
        return None
    one_type = next((len(value) == 1 for name, value in state.items() if "token_type_embeddings" in name), False)
    if one_type and not is_published(names):  # RoBERTa's: the multilingual class
        return "CrossViewLM"
    if published == "cls_head.":
        head = next(value for name, value in state.items() if name in (f"{published}0.weight", f"{ours}0.weight"))
        width = next((value.shape[-1] for name, value in state.items() if name.endswith(_WORD_MATRIX)), head.shape[1])
        return "XVLMForNLVR" if head.shape[1] == 2 * width else "XVLMForVQAClassification"
    return "XVLMForRetrieval" if published == "itm_head." else "XVLMForGrounding"
