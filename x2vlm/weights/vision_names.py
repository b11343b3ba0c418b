"""Names inside the published vision encoders (BEiT-2, CLIP ViT, Swin), in both directions.

Names are without the prefix ``vision_encoder.`` that they have in a model.
"""

import re
from collections.abc import Iterable

KINDS_OF_VISION = ("beit2", "clip", "swin")
_PREFIX = "vision_encoder."

# Published (or transformers') prefix, our prefix; backwards the first of ours that fits is taken.
_CLIP = (
    ("class_embedding", "class_token"),
    ("patch_embed.", "patch_embed."),
    ("pos_embed.", "positions."),
    ("pre_layrnorm.", "pre_norm."),
    ("post_layernorm.", "norm."),
    ("embeddings.class_embedding", "class_token"),
    ("embeddings.patch_embedding.", "patch_embed."),
    ("embeddings.position_embedding.", "positions."),
)
_CLIP_BLOCK = (
    ("self_attn.q_proj.", "attn.query."),
    ("self_attn.k_proj.", "attn.key."),
    ("self_attn.v_proj.", "attn.value."),
    ("self_attn.out_proj.", "attn.proj."),
    ("layer_norm1.", "norm1."),
    ("layer_norm2.", "norm2."),
    ("mlp.", "mlp."),
)
_MERGING = re.compile(r"layers\.(\d+)\.downsample\.(.+)$")


def vision_encoder_names(names: Iterable[str]) -> list[str]:
    """Of a model's parameter names those of its vision encoder, without ``vision_encoder.``."""
    return [name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX)]


def vision_encoder_kind(names: Iterable[str]) -> str:
    """Which vision encoder these are the names of, published or ours: ``clip``, ``swin``, else ``beit2``."""
    for name in names:
        if name.startswith(("class_embedding", "pre_layrnorm.", "embeddings.", "class_token", "pre_norm.")):
            return "clip"
        if name.startswith(("layers.", "net.layers.")):
            return "swin"
    return "beit2"


def our_vision_name(published: str) -> str:
    """Our name of a parameter of a published vision encoder; the encoder is recognised by the name.

    The projection of patches is the one name that CLIP and the others share in part: CLIP's has no ``proj``.
    """
    published = published.removeprefix("vision_model.")  # transformers' CLIP
    if block := re.match(r"encoder\.layers\.(\d+)\.(.+)$", published):
        return f"blocks.{block[1]}." + _renamed(block[2], _CLIP_BLOCK)
    if merging := _MERGING.match(published):
        # timm merges patches at the start of a stage, Swin's own code at the end of the one before.
        return f"net.layers.{int(merging[1]) + 1}.downsample.{merging[2]}"
    if published.startswith("fc_norm."):
        return "net.norm." + published.removeprefix("fc_norm.")
    if published.startswith(("patch_embed.proj.", "patch_embed.norm.")):
        return f"net.{published}"
    renamed = _renamed(published, _CLIP)
    return f"net.{published}" if renamed == published and published != "patch_embed.weight" else renamed


def published_vision_name(ours: str, tower: str) -> str:
    """The published name of one of our parameters.

    Args:
        ours: E.g. ``net.layers.1.downsample.norm.weight``.
        tower: Its vision encoder, one of ``KINDS_OF_VISION``; see :func:`vision_encoder_kind`.
    """
    if tower == "clip":
        if block := re.match(r"blocks\.(\d+)\.(.+)$", ours):
            return f"encoder.layers.{block[1]}." + _renamed(block[2], [(new, old) for old, new in _CLIP_BLOCK])
        return _renamed(ours, [(new, old) for old, new in _CLIP])
    name = ours.removeprefix("net.")
    if tower == "swin":
        merging = _MERGING.match(name)
        return f"layers.{int(merging[1]) - 1}.downsample.{merging[2]}" if merging else name
    return f"fc_{name}" if name.startswith("norm.") else name


def _renamed(name: str, prefixes: Iterable[tuple[str, str]]) -> str:
    return next((new + name.removeprefix(old) for old, new in prefixes if name.startswith(old)), name)
