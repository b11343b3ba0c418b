"""What makes one image of a clip's frames."""

import pytest
import torch

from x2vlm.building import build
from x2vlm.models.temporal import AttentionOverFrames, ConcatOfFrames, MeanOfFrames
from x2vlm.registry import MODELS


def model(**changes):
    torch.manual_seed(0)
    config = dict(
        type="X2VLM",
        vision_encoder=dict(type="BEiT2", image_size=32, patch_size=16, width=16, depth=1, num_heads=2),
        text_encoder=None,
        fusion_encoder=None,
        embed_dim=None,
        objectives={},
        num_frames=3,
    )
    return build(MODELS, config | changes, "model").eval()


def clip():
    return torch.randn(2, 3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def test_the_published_clip_is_the_mean_of_patches_and_positions():
    net = model()
    tokens, summary = net.encode_pixels(clip())
    each = net.vision_encoder(clip().flatten(0, 1))[0]
    wanted = (each.unflatten(0, (2, 3)) + net.frame_positions).mean(dim=1)
    torch.testing.assert_close(tokens, wanted)
    torch.testing.assert_close(summary, wanted.mean(dim=1))


@pytest.mark.parametrize(
    ("kind", "shows"), [("MeanOfFrames", False), ("ConcatOfFrames", True), ("AttentionOverFrames", True)]
)
def test_whether_the_order_of_frames_shows(kind, shows):
    net = model(temporal_encoder=dict(type=kind))
    with torch.no_grad():
        net.frame_positions.normal_()
    there, back = net.encode_pixels(clip())[0], net.encode_pixels(clip().flip(1))[0]
    assert torch.allclose(there, back, atol=1e-5) != shows


def test_without_positions_there_are_none_and_the_mean_is_plain():
    net = model(temporal_encoder=dict(type="MeanOfFrames", positions=False))
    assert net.frame_positions is None
    each = net.vision_encoder(clip().flatten(0, 1))[0]
    torch.testing.assert_close(net.encode_pixels(clip())[0], each.unflatten(0, (2, 3)).mean(dim=1))


def test_frames_side_by_side_are_as_many_patches():
    tokens, summaries = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 8)
    made, summary = ConcatOfFrames(8)(tokens, summaries)
    assert made.shape == (2, 12, 8)
    torch.testing.assert_close(made[:, 4:8], tokens[:, 1])
    torch.testing.assert_close(summary, summaries.mean(dim=1))


def test_attention_that_says_nothing_is_the_mean():
    encoder = AttentionOverFrames(8, num_heads=2)
    torch.nn.init.zeros_(encoder.attention.out_proj.weight)
    tokens, summaries = torch.randn(2, 3, 4, 8), torch.randn(2, 3, 8)
    for made, mean in zip(encoder(tokens, summaries), MeanOfFrames(8)(tokens, summaries), strict=True):
        torch.testing.assert_close(made, mean)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="width 8 cannot be split in 3 heads"):
        AttentionOverFrames(8, num_heads=3)


def test_a_clip_with_more_frames_than_the_model_is_told():
    with pytest.raises(ValueError, match=r"a clip has 3 frames but model\.num_frames is 2"):
        model(num_frames=2).encode_pixels(clip())
