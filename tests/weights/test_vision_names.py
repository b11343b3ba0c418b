"""Every name of the published vision encoders has one of ours, and comes back as it was."""

import json

import pytest

from x2vlm.models.vision import BEiT2, CLIPViT, Swin
from x2vlm.weights.vision_names import our_vision_name, published_vision_name, vision_encoder_kind

BUFFERS = ("position_ids", "relative_position_index", "attn_mask")
TOWERS = {
    "clip": lambda: CLIPViT(64, 16, width=64, depth=3, num_heads=4, mlp_width=96, local_attn_depth=1),
    "swin": lambda: Swin(128, first_width=16, depths=(2, 2, 2, 2), num_heads=(1, 2, 4, 8), window=4),
    "beit2": lambda: BEiT2(64, 16, width=64, depth=3, num_heads=4, mask_token=True),
}


@pytest.fixture(scope="module")
def published(shared):
    """Names and shapes of the parameters of each tower, as published."""
    listed = json.loads((shared / "golden" / "state_dict_names.json").read_text())["tiny"]
    beit2 = [(n.removeprefix("vision_encoder."), s) for n, s in listed["XFM"] if n.startswith("vision_encoder.")]
    towers = {"clip": listed["CLIPVisionTransformer"], "swin": listed["SwinTransformer"], "beit2": beit2}
    return {tower: {n: tuple(s) for n, s in names if not n.endswith(BUFFERS)} for tower, names in towers.items()}


@pytest.mark.parametrize("tower", TOWERS)
def test_the_parameters_of_a_tower_are_the_published_ones(tower, published):
    ours = {name: tuple(p.shape) for name, p in TOWERS[tower]().named_parameters()}
    assert {our_vision_name(name): shape for name, shape in published[tower].items()} == ours


@pytest.mark.parametrize("tower", TOWERS)
def test_names_come_back_as_they_were(tower, published):
    for name in published[tower]:
        assert published_vision_name(our_vision_name(name), tower) == name


@pytest.mark.parametrize("tower", TOWERS)
def test_a_tower_is_recognised_by_either_naming(tower, published):
    assert vision_encoder_kind(published[tower]) == tower
    assert vision_encoder_kind(map(our_vision_name, published[tower])) == tower


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("vision_model.embeddings.class_embedding", "class_token"),
        ("vision_model.embeddings.patch_embedding.weight", "patch_embed.weight"),
        ("vision_model.encoder.layers.11.self_attn.q_proj.bias", "blocks.11.attn.query.bias"),
        ("vision_model.post_layernorm.weight", "norm.weight"),
    ],
)
def test_names_of_transformers_clip_are_understood(theirs, ours):
    assert our_vision_name(theirs) == ours
