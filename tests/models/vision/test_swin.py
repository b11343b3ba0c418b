"""Swin against its definition, one window at a time; and its place in a model."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.functional import gelu, layer_norm

from tests.models.conftest import region_batch, tiny_model
from x2vlm.models.vision import Swin
from x2vlm.weights.vision_names import published_vision_name

SIZES = dict(image_size=64, first_width=8, depths=(2, 2, 2), num_heads=(1, 2, 2), window=4)


def swin(**changes):
    """Grids of 16, 8 and 4 patches a side: windows are shifted in the first two stages and not in the last."""
    encoder = Swin(**{**SIZES, **changes}).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in encoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.data == 1)
    return encoder


def images(count=2):
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def naive_attention(attention, x, window, shift):
    """``[H, W, D]``: every token attends to those of its window that were not carried in from the other side."""
    rows, columns, width = x.shape
    heads, out = attention.num_heads, torch.zeros_like(x)
    query, key, value = attention.qkv(x).unflatten(-1, (3, heads, width // heads)).unbind(2)
    places = [(i, j) for i in range(rows) for j in range(columns)]

    def cell(place):  # where it stands after the shift: window, part of the window, place within the window
        moved = [(p - shift) % side for p, side in zip(place, (rows, columns), strict=True)]
        wrapped = tuple(p < shift for p in place)
        return tuple(m // window for m in moved), wrapped, tuple(m % window for m in moved)

    cells = {place: cell(place) for place in places}
    for i in places:
        near = [j for j in places if cells[j][:2] == cells[i][:2]]
        for h in range(heads):
            logits = torch.stack([query[i][h] @ key[j][h] * (width // heads) ** -0.5 for j in near])
            steps = [[a - b + window - 1 for a, b in zip(cells[i][2], cells[j][2], strict=True)] for j in near]
            logits = logits + torch.stack(
                [attention.relative_position_bias_table[dy * (2 * window - 1) + dx, h] for dy, dx in steps]
            )
            mixed = logits.softmax(0) @ torch.stack([value[j][h] for j in near])
            out[i][h * (width // heads) : (h + 1) * (width // heads)] = mixed
    return attention.proj(out)


def norm(layer, x):
    return layer_norm(x, x.shape[-1:], layer.weight, layer.bias, 1e-5)


@torch.no_grad()
def naive_swin(encoder, image):
    net = encoder.net
    x = net.patch_embed.proj(image[None])[0].permute(1, 2, 0)
    x = norm(net.patch_embed.norm, x)
    for number, stage in enumerate(net.layers):
        if number:
            merged = torch.cat([x[0::2, 0::2], x[1::2, 0::2], x[0::2, 1::2], x[1::2, 1::2]], dim=-1)
            x = stage.downsample.reduction(norm(stage.downsample.norm, merged))
        for place, block in enumerate(stage.blocks):
            shift = 2 if place % 2 and x.shape[0] > 4 else 0
            x = x + naive_attention(block.attn, norm(block.norm1, x), 4, shift)
            x = x + block.mlp.fc2(gelu(block.mlp.fc1(norm(block.norm2, x))))
    return norm(net.norm, x).flatten(0, 1)


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_tokens_are_those_of_the_definition(backend):
    encoder = swin(attention=backend)
    tokens, summary = encoder(images())
    assert summary is None
    assert tokens.shape == (2, 16, 32)
    assert encoder.grid == (4, 4)
    torch.testing.assert_close(tokens[1], naive_swin(encoder, images()[1]), atol=1e-4, rtol=1e-4)


def test_the_default_is_swin_base_at_384_pixels():
    with torch.device("meta"):
        encoder = Swin()
    assert (encoder.grid, encoder.width) == ((12, 12), 1024)
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 86_878_584


@pytest.mark.parametrize("naming", ["published", "timm"])
def test_weights_are_read_under_either_naming_and_tables_resized(naming, tmp_path):
    donor = swin(window=2)
    state = donor.net.state_dict()
    if naming == "published":
        state = {published_vision_name(f"net.{name}", "swin"): value for name, value in state.items()}
        assert "layers.0.downsample.norm.weight" in state
    save_file(state, tmp_path / "swin.safetensors")
    encoder = Swin(**SIZES, checkpoint=str(tmp_path / "swin.safetensors"))
    assert encoder.pretrained_names() == {name for name, _ in encoder.named_parameters()}
    assert torch.equal(encoder.net.layers[1].downsample.norm.weight, donor.net.layers[1].downsample.norm.weight)
    assert encoder.net.layers[0].blocks[0].attn.relative_position_bias_table.shape == (49, 1)


def test_drop_path_grows_evenly_over_all_blocks():
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in swin(drop_path=0.5).blocks()]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_stages_must_agree():
    with pytest.raises(ValueError, match="must name as many stages"):
        Swin(image_size=64, depths=(2, 2), num_heads=(1,))


def test_in_a_model_a_region_is_the_mean_of_its_cells():
    sizes = dict(image_size=16, patch_size=2, first_width=4, depths=(1, 1, 1), num_heads=(1, 1, 2), window=4)
    model = tiny_model(vision_encoder=dict(type="Swin", **sizes))
    batch = region_batch()
    context = model.encode(batch).context
    tokens, _ = model.vision_encoder(batch.pixels)
    assert tokens.shape == (2, 4, 16)
    torch.testing.assert_close(context.summary[0], tokens[0, 0])  # the upper left quarter is one cell
    torch.testing.assert_close(context.summary[1], tokens[1].mean(0))
    assert all(loss.isfinite() for loss in model(batch).values())
