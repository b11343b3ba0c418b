"""Names of the published checkpoints, in both directions, and only here.

A published class (``XVLM``, ``XVLMForRetrieval``, ..., ``XFM``) is called a *kind*. Its parameters go by other names
here, and three sorts of its tensors have no counterpart:

- what can be made again from the others (indices of positions, tied copies) is left out and made again on the way back;
- what no computation of this library reads (X-FM's second word heads, for example) is kept as ``unused.<its name>``;
- so is what should be a tied copy, and is not.

So a state dict comes back as it was: names, shapes, bytes.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from x2vlm.building import suggestion
from x2vlm.weights.derived_tensors import derived
from x2vlm.weights.vision_names import our_vision_name, published_vision_name, tower_of
from x2vlm.weights.weight_files import CheckpointError

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


@dataclass(frozen=True)
class Kind:
    """How a published class names its parts.

    Attributes:
        text: What stands before the text encoder's ``embeddings`` and ``encoder``.
        fusion: The same for the fusion encoder; None where it is the upper layers of the text encoder.
        words: What stands before the parts of the head that predicts masked words (or captions).
        task: Name of the objective that has this head here.
        vision: What stands before the vision encoder's names; None: nothing else is in the class.
    """

    text: str = "text_encoder."
    fusion: str | None = None
    words: str = "text_encoder.cls.predictions."
    task: str = "mlm"
    vision: str = "vision_encoder."


_MULTILINGUAL = Kind(fusion="cross_encoder.", words="mlm_head.predictions.")
KINDS = {
    "XVLM": Kind(text="text_encoder.bert."),
    "XVLMForRetrieval": Kind(),
    "XVLMForGrounding": Kind(),
    "XVLMForVQA": Kind(),
    "XVLMForMLMCaptioning": Kind(text="text_encoder.bert.", task="caption"),
    "XVLMForNLVR": Kind(),
    "XVLMForVQAClassification": Kind(),
    "XVLMForClassification": Kind(),
    "CrossViewLM": _MULTILINGUAL,
    "XVLMPlus": _MULTILINGUAL,
    "XFM": Kind(text="text_encoder.roberta.", fusion="fusion_encoder.roberta.", words="fusion_encoder.lm_head."),
    "CLIPVisionTransformer": Kind(vision=""),
    "SwinTransformer": Kind(vision=""),
}

# Published beginning, our beginning. The first that fits is taken, in either direction.
_PARTS = (
    ("temp", "temperature"),
    ("absolute_frame_pos_embed", "frame_positions"),
    ("vision_proj.", "vision_proj."),
    ("text_proj.", "text_proj."),
    ("itm_head.", "objectives.itm.head."),
    ("bbox_head.", "objectives.bbox.head."),
    ("cls_head.", "objectives.classification.head."),
)
_WORD_HEADS = (  # parts of BERT's and of RoBERTa's word head
    ("transform.dense.", "dense."),
    ("transform.LayerNorm.", "LayerNorm."),
    ("dense.", "dense."),
    ("layer_norm.", "LayerNorm."),
    ("decoder.weight", "decoder.weight"),
    ("bias", "bias"),
)
DECODER = "objectives.answer.decoder."
_WORD_MATRIX = "word_embeddings.weight"

_LAYER = re.compile(r"(text|cross|fusion)_encoder\.(?:bert\.|roberta\.)?encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
_DECODER_LAYER = re.compile(r"text_decoder\.(?:bert\.|roberta\.)?encoder\.layer\.(\d+)\.(.+)\.(weight|bias)$")
_TEXT_EMBEDDINGS = re.compile(r"text_encoder\.(?:bert\.|roberta\.)?embeddings\.(.+)$")
_DECODER_EMBEDDINGS = re.compile(r"text_decoder\.(?:bert\.|roberta\.)?embeddings\.(.+)$")
_WORDS = re.compile(
    r"(text_encoder\.cls\.predictions|mlm_head\.predictions|text_decoder\.cls\.predictions|"
    r"text_encoder\.lm_head|fusion_encoder\.lm_head)\.(.+)$"
)
_OURS = re.compile(
    r"objectives\.|(vision|text)_encoder\.net\.|fusion_encoder\.layer\.|vision_encoder\.(class_token|pre_norm\.)|unused\."
)
_KNOWN = (
    *("temperature", "frame_positions", "vision_proj.", "text_proj.", "vision_encoder.", "text_encoder.net."),
    *("fusion_encoder.layer.", "objectives.", UNUSED),
)
_OUR_TEXT_LAYER = re.compile(r"text_encoder\.net\.encoder\.layer\.(\d+)\.")
_MADE_AGAIN = re.compile(
    r"relative_position_index$|position_ids$|cls\.predictions\.decoder\.(weight|bias)$|predictions\.decoder\.bias$|"
    r"lm_head\.decoder\.bias$|text_encoder\.lm_head\.decoder\.weight$"
)
_NEVER_READ = re.compile(
    r"(text|fusion)_encoder\.lm_cap_head\.|fusion_encoder\.(bert|roberta)\.embeddings\.|fusion_proj\.|"
    r"crit_mask_lm_smoothed\.|"
    r".*\.attn_mask$|.*\.pooler\.|.*\.cls\.seq_relationship\."
)


def our_name(published: str, text_layers: int, task: str = "mlm", text_task: str = "text_mlm") -> str | None:
    """Our name of a published parameter; None for what can be made again from others.

    Args:
        published: E.g. ``text_encoder.bert.encoder.layer.13.crossattention.self.key.weight``.
        text_layers: Layers of ``text_encoder`` below this number are the text encoder, the others the fusion encoder.
        task: The objective whose head predicts words after fusion: ``mlm`` or ``caption``.
        text_task: The objective whose head is RoBERTa's ``text_encoder.lm_head``.

    Returns:
        Our name; ``unused.<name>`` for what nothing here reads; the name itself if no rule knows it.
    """
    if _NEVER_READ.match(published):
        return UNUSED + published
    if _MADE_AGAIN.search(published):
        return None
    if layer := _LAYER.match(published):
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
    if words := _WORDS.match(published):
        part = _renamed(words[2], _WORD_HEADS)
        if part is None:
            return published
        if words[1].startswith("text_decoder"):
            return DECODER + part
        return f"objectives.{text_task if words[1] == 'text_encoder.lm_head' else task}.{part}"
    if published.startswith("vision_encoder."):
        return "vision_encoder." + our_vision_name(published.removeprefix("vision_encoder."))
    return _renamed(published, _PARTS) or published


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
            heads = _WORD_HEADS[2:] if words.endswith("lm_head.") else _WORD_HEADS[:2] + _WORD_HEADS[4:]
            found = _renamed(part, [(new, old) for old, new in heads])
            return None if found is None else words + found
    return _renamed(ours, [(new, old) for old, new in _PARTS])


def from_published(
    state: Mapping[str, Tensor], text_layers: int | None = None, kind: str | None = None
) -> dict[str, Tensor]:
    """A published state dict under our names.

    Args:
        state: As published.
        text_layers: Layers of the text encoder below the fusion layers; None counts those without cross-attention.
        kind: The published class; None tells it from the names.

    Returns:
        Tensors under our names, those without a use as ``unused.<published name>``.

    Raises:
        CheckpointError: If the names are of no published class.
    """
    kind = _known(kind) if kind else guess_kind(state)
    if kind is None:
        raise CheckpointError(
            f"the names are of no published class: {', '.join(list(state)[:4])}, ... Known: {', '.join(KINDS)}."
        )
    if text_layers is None:
        text_layers = count_text_layers(state)
    two_heads = any(name.startswith("fusion_encoder.") for name in state)
    follows, ours = derived(state), {}
    for name, value in state.items():
        own = our_name(
            name if KINDS[kind].vision else f"vision_encoder.{name}",
            text_layers,
            KINDS[kind].task,
            "text_mlm" if two_heads else KINDS[kind].task,
        )
        if own is None or own.startswith(UNUSED):
            if name in follows and torch.equal(value, follows[name]):
                continue
            own = UNUSED + name
        if own in ours:
            raise CheckpointError(f"two tensors would become {own}; one of them is {name}. Is the kind {kind} right?")
        ours[own] = value
    return ours


def to_published(state: Mapping[str, Tensor], kind: str | None = None) -> dict[str, Tensor]:
    """Our state dict under the names of a published class, with all that the class has beside its parameters.

    Args:
        state: Ours, as a model gives it or as :func:`from_published` does.
        kind: The published class; None tells it from the objectives.

    Raises:
        CheckpointError: If the class has no place for a tensor, or cannot be told.
    """
    kind = _known(kind) if kind else guess_kind(state)
    if kind is None:
        raise CheckpointError(
            f"it cannot be told which published class this becomes. Give kind, one of: {', '.join(KINDS)}."
        )
    text_layers = 1 + max((int(found[1]) for found in map(_OUR_TEXT_LAYER.match, state) if found), default=-1)
    vision = tower_of(name.removeprefix("vision_encoder.") for name in state if name.startswith("vision_encoder."))
    theirs, homeless = {}, []
    for name, value in state.items():
        published = published_name(name, kind, text_layers, vision)
        if published is None:
            homeless.append(name)
        else:
            theirs[published] = value
    if homeless:
        raise CheckpointError(
            f"{kind} has no place for {', '.join(homeless[:5])}"
            + (f" and {len(homeless) - 5} more" if len(homeless) > 5 else "")
            + ". Choose another kind, or leave these out."
        )
    words = KINDS[kind].words
    if words == _MULTILINGUAL.words and f"{words}bias" in theirs:  # not tied there, whether it is here or not
        theirs.setdefault(f"{words}decoder.weight", theirs[f"{KINDS[kind].text}embeddings.word_embeddings.weight"])
    return theirs | {name: value for name, value in derived(theirs).items() if name not in theirs}


def count_text_layers(state: Iterable[str]) -> int:
    """Layers of a published ``text_encoder`` below the first with cross-attention; all if none has it."""
    found = [layer for layer in map(_LAYER.match, state) if layer and layer[1] == "text"]
    crossing = [int(layer[2]) for layer in found if layer[3].startswith("crossattention.")]
    return min(crossing, default=1 + max((int(layer[2]) for layer in found), default=-1))


def is_published(state: Iterable[str]) -> bool:
    """Whether names are published ones, not ours."""
    return not any(_OURS.match(name) for name in state)


def unknown(state: Iterable[str]) -> list[str]:
    """Names, under ours, that no part of a model here has."""
    return [name for name in state if not name.startswith(_KNOWN)]


def guess_kind(state: Mapping[str, Tensor]) -> str | None:
    """The published class whose state dict this is, or would become if it is ours; None if it cannot be told."""
    names = set(state)

    def has(*beginnings: str) -> bool:
        return any(name.startswith(beginnings) for name in names)

    if not has("text_encoder.", "objectives.") and has("vision_encoder."):  # of ours, a tower alone
        tower = tower_of(name.removeprefix("vision_encoder.") for name in names if name.startswith("vision_encoder."))
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
    for published, ours in _PARTS[4:]:
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


def _published_decoder_name(ours: str) -> str | None:
    if layer := re.match(r"layer\.(\d+)\.(.+)\.(weight|bias)$", ours):
        return f"text_decoder.bert.encoder.layer.{layer[1]}.{FUSION_NAMES[layer[2]]}.{layer[3]}"
    if ours.startswith("embeddings."):
        return f"text_decoder.bert.{ours}"
    found = _renamed(ours, [(new, old) for old, new in _WORD_HEADS[:2] + _WORD_HEADS[4:]])
    return None if found is None else f"text_decoder.cls.predictions.{found}"


def _renamed(name: str, beginnings: Iterable[tuple[str, str]]) -> str | None:
    return next((new + name.removeprefix(old) for old, new in beginnings if name.startswith(old)), None)


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise CheckpointError(
            f"there is no published class {kind!r}.{suggestion(kind, KINDS)} Known: {', '.join(KINDS)}."
        )
    return kind
