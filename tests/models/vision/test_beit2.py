"""BEiT-2: hidden patches, fresh weights, stochastic depth, relative positions."""

import pytest
import torch

from tests.models.conftest import image_batch, tiny_model
from x2vlm.models.vision import BEiT2

SIZES = dict(image_size=(32, 48), patch_size=16, width=16, depth=2, num_heads=2)


def beit(**changes):
    torch.manual_seed(0)
    return BEiT2(**{**SIZES, **changes}).eval()


def test_hidden_patches_are_the_mask_token_before_the_first_block():
    encoder = beit(mask_token=True)
    torch.nn.init.normal_(encoder.net.mask_token)
    images = torch.randn(2, 3, 32, 48)
    hidden = torch.tensor([[True, False, False, True, False, False], [False] * 6])
    entering = []
    handle = encoder.net.blocks[0].register_forward_pre_hook(lambda _, given: entering.append(given[0]))
    tokens, _ = encoder(images, masked_patches=hidden)
    handle.remove()
    patches = encoder.net.patch_embed(images)
    for image in range(2):
        torch.testing.assert_close(entering[0][image, 0], encoder.net.cls_token[0, 0])
        for place in range(6):
            expected = encoder.net.mask_token[0, 0] if hidden[image, place] else patches[image, place]
            torch.testing.assert_close(entering[0][image, 1 + place], expected)
    torch.testing.assert_close(tokens[1], encoder(images)[0][1])


def test_what_is_hidden_is_not_seen():
    encoder = beit(mask_token=True)
    images = torch.randn(1, 3, 32, 48)
    changed = images.clone()
    changed[:, :, :16, :16] = 3.0
    hidden = torch.tensor([[True] + [False] * 5])
    torch.testing.assert_close(encoder(images, hidden)[0], encoder(changed, hidden)[0])
    assert not torch.allclose(encoder(images)[0], encoder(changed)[0])


def test_hiding_patches_needs_a_mask_token_and_the_grid_of_the_encoder():
    images, hidden = torch.zeros(1, 3, 32, 48), torch.zeros(1, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"no mask token\. Set vision_encoder\.mask_token=True"):
        beit()(images, hidden)
    with pytest.raises(ValueError, match=r"\(1, 5\) but the images have 1 x 2 x 3 patches.*grid=\(2, 3\)"):
        beit(mask_token=True)(images, hidden[:, :5])


def test_an_encoder_that_cannot_hide_patches_is_named():
    vit = dict(type="TimmVisionEncoder", name="vit_tiny_patch16_224", image_size=16)
    model = tiny_model(vision_encoder=vit | dict(options=dict(patch_size=8, embed_dim=16, depth=1, num_heads=2)))
    hidden = torch.zeros(4, 4, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"TimmVisionEncoder cannot mask patches.*BEiT2\(mask_token=True\)"):
        model.encode_pixels(image_batch().pixels, hidden)
    with pytest.raises(ValueError, match="patches of clips cannot be masked"):
        model.encode_pixels(torch.zeros(1, 3, 3, 16, 16), hidden)


def test_fresh_weights_are_small_and_smaller_in_later_blocks():
    torch.manual_seed(0)
    encoder = BEiT2(image_size=32, width=128, depth=3, num_heads=2, layer_scale=0.1, mask_token=True)
    for number, block in enumerate(encoder.net.blocks, start=1):
        for layer, factor in (
            (block.attn.qkv, 1.0),
            (block.mlp.fc1, 1.0),
            (block.attn.proj, (2 * number) ** -0.5),
            (block.mlp.fc2, (2 * number) ** -0.5),
        ):
            assert layer.weight.std().item() == pytest.approx(0.02 * factor, rel=0.03)
            assert layer.bias is None or not layer.bias.any()
        assert (block.gamma_1 == 0.1).all()
        assert (block.gamma_2 == 0.1).all()
        assert not block.attn.relative_position_bias_table.any()
        assert block.norm1.eps == block.norm2.eps == 1e-6
    assert encoder.net.cls_token.std().item() == pytest.approx(0.02, rel=0.3)
    assert encoder.net.mask_token.std().item() == pytest.approx(0.02, rel=0.3)
    assert encoder.net.norm.eps == 1e-6


def test_stochastic_depth_grows_evenly_and_drops_whole_images():
    encoder = beit(depth=3, drop_path=0.5).train()
    assert [getattr(block.drop_path1, "drop_prob", 0.0) for block in encoder.net.blocks] == [0.0, 0.25, 0.5]
    branch = encoder.net.blocks[2].drop_path2(torch.ones(200, 4, 8))
    assert set(branch.flatten(1).unique(dim=1).unique().tolist()) == {0.0, 2.0}
    assert all(len(image.unique()) == 1 for image in branch)


def test_rows_of_the_relative_table_are_where_they_are_published():
    encoder = beit()
    rows, cols = encoder.grid
    index = encoder.net.blocks[0].attn.relative_position_index
    last = (2 * rows - 1) * (2 * cols - 1) + 3
    assert len(encoder.net.blocks[0].attn.relative_position_bias_table) == last
    assert index[0, 0] == last - 1
    assert (index[0, 1:] == last - 3).all()
    assert (index[1:, 0] == last - 2).all()
    for query in range(rows * cols):
        for key in range(rows * cols):
            dy, dx = query // cols - key // cols, query % cols - key % cols
            assert index[1 + query, 1 + key] == (dy + rows - 1) * (2 * cols - 1) + (dx + cols - 1)


def test_recomputed_activations_give_the_same_gradients():
    images = torch.randn(2, 3, 32, 48)
    grads = []
    for on in (False, True):
        encoder = beit(drop_path=0.0).train()
        encoder.set_activation_checkpointing(on)
        encoder(images)[0].square().mean().backward()
        grads.append([parameter.grad for parameter in encoder.parameters()])
    assert all(torch.allclose(one, other) for one, other in zip(*grads, strict=True))
