import pytest
import timm
import torch
from safetensors.torch import save_file

from x2vlm.benchmark.encoder_comparison.backbone_comparison import families, try_family
from x2vlm.models.vision import BEiT2, TimmVisionEncoder
from x2vlm.weights.relative_positions import resize_relative_table

SMALL_VIT = dict(embed_dim=16, depth=1, num_heads=2)

# A backbone of every kind that the adapter is for, as small as timm lets it be.
BACKBONES = {
    "vit": dict(name="vit_tiny_patch16_224", image_size=(32, 48), options=SMALL_VIT),
    "clip": dict(name="vit_base_patch16_clip_224", image_size=32, options=SMALL_VIT),
    "siglip": dict(name="vit_base_patch16_siglip_224", image_size=32, options=SMALL_VIT),
    "dinov2": dict(name="vit_small_patch14_reg4_dinov2", image_size=28, options=SMALL_VIT),
    "eva": dict(name="eva02_tiny_patch14_224", image_size=28, options=SMALL_VIT),
    "beitv2": dict(name="beitv2_base_patch16_224", image_size=32, options=SMALL_VIT),
    "swin": dict(
        name="swin_tiny_patch4_window7_224",
        image_size=64,
        options=dict(embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2), window_size=2),
    ),
    "convnext": dict(name="convnext_atto", image_size=64, options=dict(depths=(1, 1, 1, 1), dims=(4, 4, 8, 8))),
    "efficientnet": dict(name="tf_efficientnet_lite0", image_size=64),
}


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_backbone_yields_one_token_for_each_cell_of_its_grid(kind):
    encoder = TimmVisionEncoder(**BACKBONES[kind]).eval()
    tokens, summary = encoder(torch.randn(2, 3, *encoder.image_size))
    rows, cols = encoder.grid
    assert tokens.shape == (2, rows * cols, encoder.width)
    assert summary is None


@pytest.mark.parametrize("kind", ["vit", "clip", "siglip", "dinov2", "beitv2"])
def test_tokens_are_what_timm_gives_without_its_prefix_tokens(kind):
    encoder = TimmVisionEncoder(**BACKBONES[kind]).eval()
    images = torch.randn(1, 3, *encoder.image_size)
    expected = encoder.net.forward_features(images)[:, encoder.net.num_prefix_tokens :]
    torch.testing.assert_close(encoder(images)[0], expected)


def test_tokens_are_in_row_major_order_of_the_image():
    encoder = TimmVisionEncoder(**BACKBONES["convnext"]).eval()
    images = torch.zeros(1, 3, *encoder.image_size)
    still = encoder(images)[0]
    images[:, :, :16, 48:] = 5.0  # top right
    moved = (encoder(images)[0] - still).abs().sum(-1)[0].view(encoder.grid)
    assert moved.argmax() == encoder.grid[1] - 1


@pytest.mark.parametrize("family", ["vision_transformer", "convnext", "swin_transformer", "mambaout", "crossvit"])
def test_tokens_of_a_family_follow_the_grid(family):
    assert try_family(family, families()[family]).verdict == "follows the grid"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: TimmVisionEncoder(BACKBONES["dinov2"]["name"], image_size=64, options=SMALL_VIT),
            r"image_size 64 does not fit timm's vit_small_patch14_reg4_dinov2: its 4 tokens stand for 14 pixels each, "
            r"56 in all.*multiple of 14, e\.g\. 56 or 70",
        ),
        (
            lambda: TimmVisionEncoder("convnext_atto", image_size=70, options=BACKBONES["convnext"]["options"]),
            r"image_size 70 does not fit timm's convnext_atto: .* 64 in all",
        ),
        (lambda: BEiT2(image_size=40, depth=1, width=16), r"image_size 40 does not fit BEiT2: .* 32 in all"),
    ],
    ids=["patches", "strides", "beit2"],
)
def test_an_image_that_cells_do_not_cover_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_images_of_another_size_are_refused():
    encoder = TimmVisionEncoder(**BACKBONES["convnext"])
    with pytest.raises(ValueError, match="images are 32 x 32 but the vision encoder was made for 64 x 64"):
        encoder(torch.zeros(1, 3, 32, 32))


def test_fixed_positions_do_not_learn_and_differ_from_place_to_place():
    encoder = TimmVisionEncoder(**BACKBONES["vit"], sincos=True)
    assert not encoder.net.pos_embed.requires_grad
    places = encoder.net.pos_embed[0, 1:]
    assert len(places.unique(dim=0)) == encoder.grid[0] * encoder.grid[1]
    assert places.abs().max() == pytest.approx(1.0)


def test_fixed_positions_need_a_model_that_has_positions():
    with pytest.raises(ValueError, match="convnext_atto has none"):
        TimmVisionEncoder(**BACKBONES["convnext"], sincos=True)


def test_a_misspelt_backbone_is_named_with_close_names():
    with pytest.raises(ValueError, match=r"no model 'vit_tiny_patch61_224'.*vit_tiny_patch16_224"):
        TimmVisionEncoder("vit_tiny_patch61_224")


def test_an_option_that_a_backbone_does_not_take_is_named():
    with pytest.raises(ValueError, match=r"vit_tiny_patch16_224 refused its options .*dept"):
        TimmVisionEncoder("vit_tiny_patch16_224", options=dict(dept=1))


def test_weights_from_a_file_are_loaded_and_named(tmp_path):
    donor = timm.create_model("vit_tiny_patch16_224", num_classes=3, img_size=(32, 48), **SMALL_VIT)
    save_file(donor.state_dict(), tmp_path / "vit.safetensors")
    encoder = TimmVisionEncoder(**BACKBONES["vit"], checkpoint=str(tmp_path / "vit.safetensors"))
    assert torch.equal(encoder.net.patch_embed.proj.weight, donor.patch_embed.proj.weight)
    assert encoder.pretrained_names() == {f"net.{name}" for name, _ in encoder.net.named_parameters()}


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path):
    save_file({"blocks.0.wrong": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"missing: cls_token.*without a place: blocks\.0\.wrong"):
        TimmVisionEncoder(**BACKBONES["vit"], checkpoint=str(tmp_path / "x.safetensors"))


def test_the_class_token_of_beit_helps_and_is_dropped():
    encoder = BEiT2(image_size=(32, 48), patch_size=16, width=16, depth=1, num_heads=2).eval()
    images = torch.randn(1, 3, 32, 48)
    before, _ = encoder(images)
    assert before.shape == (1, 2 * 3, 16)
    torch.nn.init.normal_(encoder.net.cls_token, std=5.0)
    assert not torch.allclose(encoder(images)[0], before)


def test_beit_weights_of_another_size_are_resized(tmp_path):
    small = BEiT2(image_size=32, patch_size=16, width=16, depth=1, num_heads=2)
    torch.nn.init.normal_(small.net.blocks[0].attn.relative_position_bias_table)
    state = {
        name.replace("norm.", "fc_norm.") if name.startswith("norm.") else name: v
        for name, v in small.net.state_dict().items()
    }
    torch.save({"model": state}, tmp_path / "beit.pth")
    large = BEiT2(image_size=64, patch_size=16, width=16, depth=1, num_heads=2, checkpoint=str(tmp_path / "beit.pth"))
    table = large.net.blocks[0].attn.relative_position_bias_table
    assert table.shape == (7 * 7 + 3, 2)
    expected = resize_relative_table(small.net.blocks[0].attn.relative_position_bias_table.detach(), (2, 2), (4, 4))
    assert torch.equal(table, expected)
    assert torch.equal(large.net.norm.weight, small.net.norm.weight)
