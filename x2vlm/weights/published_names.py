"""Names of the parameters of published checkpoints, in both directions.

A published class (``XVLM``, ``XVLMForRetrieval``, ..., ``XFM``) is called a *kind*. Its parameters have other names in
this library; :mod:`x2vlm.weights.published_state` says what becomes of tensors that have no counterpart.
"""

import re
from collections.abc import Iterable

from x2vlm.weights.published_kinds import KINDS
from x2vlm.weights.vision_names import our_vision_name, published_vision_name

UNUSED = "unused."

# Our name of a fusion (or answer decoder) layer's part -> its name in a BERT layer of transformers.
BERT_NAMES = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.dense": "attention.output.dense",
    "attention.LayerNorm": "attention.output.LayerNorm",
    "ffn.intermediate": "intermediate.dense",
    "ffn.output": "output.dense",
    "ffn.LayerNorm": "output.LayerNorm",
}
FUSION_NAMES = BERT_NAMES | {
    f"cross{ours}": f"cross{theirs}" for ours, theirs in BERT_NAMES.items() if ours.startswith("attention.")
}
_PART = {theirs: ours for ours, theirs in FUSION_NAMES.items()}

# Published prefix, our prefix. The first that fits is taken, in either direction.
HEAD_NAMES = (
    ("itm_head.", "objectives.itm.head."),
    ("bbox_head.", "objectives.bbox.head."),
    ("cls_head.", "objectives.classification.head."),
)
TOP_LEVEL_NAMES = (
    ("temp", "temperature"),
    ("absolute_frame_pos_embed", "frame_positions"),
    ("vision_proj.", "vision_proj."),
    ("text_proj.", "text_proj."),
    *HEAD_NAMES,
)
# The head that predicts masked words: BERT's parts, RoBERTa's, and what both have; ours beside them.
_BERT_HEAD = (("transform.dense.", "dense."), ("transform.LayerNorm.", "LayerNorm."))
_ROBERTA_HEAD = (("dense.", "dense."), ("layer_norm.", "LayerNorm."))
_SHARED_HEAD = (("decoder.weight", "decoder.weight"), ("bias", "bias"))
DECODER = "objectives.answer.decoder."

LAYER = re.compile(r"(text|cross|fusion)_encoder\.(?:bert\.|roberta\.)?encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
_DECODER_LAYER = re.compile(r"text_decoder\.(?:bert\.|roberta\.)?encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
_TEXT_EMBEDDINGS = re.compile(r"text_encoder\.(?:bert\.|roberta\.)?embeddings\.(.+)$")
_DECODER_EMBEDDINGS = re.compile(r"text_decoder\.(?:bert\.|roberta\.)?embeddings\.(.+)$")
_WORD_HEAD = re.compile(
    r"(text_encoder\.cls\.predictions|mlm_head\.predictions|text_decoder\.cls\.predictions|"
    r"text_encoder\.lm_head|fusion_encoder\.lm_head)\.(.+)$"
)
_DERIVED = re.compile(
    r"relative_position_index$|position_ids$|cls\.predictions\.decoder\.(weight|bias)$|predictions\.decoder\.bias$|"
    r"lm_head\.decoder\.bias$|text_encoder\.lm_head\.decoder\.weight$"
)
_NEVER_READ = re.compile(
    r"(text|fusion)_encoder\.lm_cap_head\.|fusion_encoder\.(bert|roberta)\.embeddings\.|fusion_proj\.|"
    r"crit_mask_lm_smoothed\.|"
    r".*\.attn_mask$|.*\.pooler\.|.*\.cls\.seq_relationship\."
)


def our_name(published: str, text_layers: int, task: str = "mlm", text_task: str = "text_mlm") -> str | None:
    """Our name of a published parameter; None for derived tensors.

    Args:
        published: E.g. ``text_encoder.bert.encoder.layer.13.crossattention.self.key.weight``.
        text_layers: Layers of ``text_encoder`` below this number are the text encoder, the others the fusion encoder.
        task: The objective whose head predicts words after fusion: ``mlm`` or ``caption``.
        text_task: The objective whose head is RoBERTa's ``text_encoder.lm_head``.

    Returns:
        Our name; ``unused.<name>`` for tensors that nothing here reads; the name itself if no rule applies.
    """
    if _NEVER_READ.match(published):
        return UNUSED + published
    if _DERIVED.search(published):
        return None
    if layer := LAYER.match(published):
        encoder, number, part, kind = layer[1], int(layer[2]), layer[3], layer[4]
        if encoder == "text" and number < text_layers:
            return f"text_encoder.net.encoder.layer.{number}.{part}.{kind}"
        number -= text_layers if encoder == "text" else 0
        return f"fusion_encoder.layer.{number}.{_PART[part]}.{kind}" if part in _PART else published
    if layer := _DECODER_LAYER.match(published):
        part = _PART.get(layer[2])
        return f"{DECODER}layer.{layer[1]}.{part}.{layer[3]}" if part else published
    if embeddings := _TEXT_EMBEDDINGS.match(published):
        return f"text_encoder.net.embeddings.{embeddings[1]}"
    if embeddings := _DECODER_EMBEDDINGS.match(published):
        return f"{DECODER}embeddings.{embeddings[1]}"
    if words := _WORD_HEAD.match(published):
        part = _renamed(words[2], _BERT_HEAD + _ROBERTA_HEAD + _SHARED_HEAD)
        if part is None:
            return published
        if words[1].startswith("text_decoder"):
            return DECODER + part
        return f"objectives.{text_task if words[1] == 'text_encoder.lm_head' else task}.{part}"
    if published.startswith("vision_encoder."):
        return "vision_encoder." + our_vision_name(published.removeprefix("vision_encoder."))
    return _renamed(published, TOP_LEVEL_NAMES) or published


def published_name(ours: str, kind: str, text_layers: int, vision: str = "beit2") -> str | None:
    """The name that a published class has for one of our parameters; None if it has no such part.

    Args:
        ours: E.g. ``fusion_encoder.layer.0.attention.query.weight``.
        kind: Name of the published class.
        text_layers: Number of layers of our text encoder.
        vision: The vision encoder: ``beit2``, ``clip`` or ``swin``.
    """
    names = KINDS[kind]
    if ours.startswith(UNUSED):
        return ours.removeprefix(UNUSED)
    if ours.startswith("vision_encoder."):
        return names.vision + published_vision_name(ours.removeprefix("vision_encoder."), vision)
    if not names.vision:
        return None
    if ours.startswith("text_encoder.net."):
        return names.text + ours.removeprefix("text_encoder.net.")
    if layer := re.match(r"fusion_encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$", ours):
        number = int(layer[1]) + (text_layers if names.fusion is None else 0)
        return f"{names.fusion or names.text}encoder.layer.{number}.{FUSION_NAMES[layer[2]]}.{layer[3]}"
    if ours.startswith(DECODER):
        return _published_decoder_name(ours.removeprefix(DECODER))
    for task, words in ((names.task, names.words), ("text_mlm", "text_encoder.lm_head.")):
        if ours.startswith(f"objectives.{task}."):
            part = ours.removeprefix(f"objectives.{task}.")
            head = (_ROBERTA_HEAD if words.endswith("lm_head.") else _BERT_HEAD) + _SHARED_HEAD
            published_part = _renamed(part, _reversed(head))
            return None if published_part is None else words + published_part
    return _renamed(ours, _reversed(TOP_LEVEL_NAMES))


def _published_decoder_name(ours: str) -> str | None:
    if layer := re.match(r"layer\.(\d+)\.(.+)\.(weight|bias)$", ours):
        return f"text_decoder.bert.encoder.layer.{layer[1]}.{FUSION_NAMES[layer[2]]}.{layer[3]}"
    if ours.startswith("embeddings."):
        return f"text_decoder.bert.{ours}"
    part = _renamed(ours, _reversed(_BERT_HEAD + _SHARED_HEAD))
    return None if part is None else f"text_decoder.cls.predictions.{part}"


def _renamed(name: str, prefixes: Iterable[tuple[str, str]]) -> str | None:
    return next((new + name.removeprefix(old) for old, new in prefixes if name.startswith(old)), None)


def _reversed(prefixes: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """From our prefix to the published one."""
    return [(ours, published) for published, ours in prefixes]
