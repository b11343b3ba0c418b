"""CLIP's vision transformer against transformers' own, and its parts of images against one image at a time."""

import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from tests.models.conftest import image_batch, region_batch, tiny_model
from x2vlm.models.vision import CLIPViT
from x2vlm.models.vision.clip import quick_gelu
from x2vlm.weights.vision_names import our_vision_name

SIZES = dict(image_size=32, patch_size=8, width=16, depth=3, num_heads=2, mlp_width=24)


def clip(seed=0, **changes):
    """A small encoder whose every parameter is far from 0."""
    encoder = CLIPViT(**{**SIZES, "local_attn_depth": 2, **changes}).eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in encoder.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3 + (parameter.data == 1)
    return encoder


def images(count=2, seed=1):
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_whole_images_are_what_transformers_makes_of_them(backend):
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=2, image_size=32, patch_size=8
    )
    assert config.hidden_act == "quick_gelu"
    torch.manual_seed(0)
    donor = CLIPVisionModel(config).eval()
    state = {our_vision_name(name): value for name, value in donor.state_dict().items() if "position_ids" not in name}
    ours = clip(attention=backend)
    ours.load_state_dict(state)
    tokens, summary = ours(images())
    theirs = donor(images())
    normed = ours.norm(theirs.last_hidden_state)  # transformers normalises the class token only
    torch.testing.assert_close(tokens, normed[:, 1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(summary, theirs.pooler_output, atol=1e-5, rtol=1e-5)


def test_weights_of_transformers_are_read_and_positions_resized(tmp_path):
    donor = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=3,
            num_attention_heads=2,
            image_size=16,
            patch_size=8,
        )
    )
    donor.save_pretrained(tmp_path)
    encoder = CLIPViT(**SIZES, local_attn_depth=1, checkpoint=str(tmp_path / "model.safetensors"))
    assert encoder.pretrained_names() == {name for name, _ in encoder.named_parameters()}
    own = donor.get_parameter(next(n for n, _ in donor.named_parameters() if n.endswith("position_embedding.weight")))
    assert torch.equal(encoder.positions.weight[0], own[0])
    assert encoder.positions.weight.shape == (17, 16)
    assert torch.equal(encoder.norm.weight, torch.ones(16))


def naive_region(encoder, image, mask):
    """One image and one part, block by block, with attention written out."""
    hidden = encoder.embed(image[None])[0]  # [1 + N, D]
    key_mask = torch.cat([torch.tensor([True]), mask])
    for number, block in enumerate(encoder.blocks):
        normed, heads = block.norm1(hidden), []
        query, key, value = (getattr(block.attn, name)(normed) for name in ("query", "key", "value"))
        for part in range(2):
            columns = slice(8 * part, 8 * part + 8)
            logits = query[:, columns] @ key[:, columns].T / 8**0.5
            if number >= len(encoder.blocks) - encoder.local_attn_depth:
                logits[:, ~key_mask] = -torch.inf
            heads.append(logits.softmax(-1) @ value[:, columns])
        hidden = hidden + block.attn.proj(torch.cat(heads, -1))
        inner = block.mlp["fc1"](block.norm2(hidden))
        hidden = hidden + block.mlp["fc2"](inner * torch.sigmoid(1.702 * inner))
    hidden = torch.nn.functional.layer_norm(hidden, (16,), encoder.norm.weight, encoder.norm.bias, 1e-5)
    return hidden[1:], hidden[0]


@pytest.mark.parametrize("local", [0, 1, 3])
def test_a_part_attends_to_itself_and_the_class_token_in_the_last_blocks(local):
    encoder, owner = clip(local_attn_depth=local), torch.tensor([1, 0, 1])
    mask = torch.rand(3, 16, generator=torch.Generator().manual_seed(2)) < 0.4
    tokens, summaries = encoder.encode_regions(images(), owner, mask)
    assert tokens.shape == (5, 16, 16)
    for whole in range(2):
        expected = naive_region(encoder, images()[whole], torch.ones(16, dtype=torch.bool))
        torch.testing.assert_close(tokens[whole], expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(summaries[whole], expected[1], atol=1e-5, rtol=1e-5)
    for part in range(3):
        expected = naive_region(encoder, images()[owner[part]], mask[part])
        torch.testing.assert_close(tokens[2 + part], expected[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(summaries[2 + part], expected[1], atol=1e-5, rtol=1e-5)


def test_without_parts_both_ways_are_one():
    encoder, none = clip(), torch.zeros(0, dtype=torch.long)
    for first, second in zip(
        encoder(images()), encoder.encode_regions(images(), none, torch.zeros(0, 16, dtype=torch.bool)), strict=True
    ):
        torch.testing.assert_close(first, second)


def test_recomputed_activations_give_the_same_gradients():
    grads = []
    for on in (False, True):
        encoder = clip().train()
        encoder.set_activation_checkpointing(on)
        mask = torch.arange(16)[None] < 5
        encoder.encode_regions(images(), torch.tensor([0]), mask)[0].square().mean().backward()
        grads.append([parameter.grad for parameter in encoder.parameters()])
    assert all(torch.allclose(one, other) for one, other in zip(*grads, strict=True))


def test_quick_gelu_is_the_published_formula():
    assert quick_gelu(torch.tensor([-1.0, 0.0, 2.0])).tolist() == pytest.approx([-0.154196, 0.0, 1.935659], abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(local_attn_depth=4), "local_attn_depth is 4; expected 0 to depth=3"),
        (dict(num_heads=3), "cannot be split in 3 heads"),
        (dict(image_size=30), "not a multiple of patch_size 8"),
    ],
)
def test_sizes_that_cannot_be_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CLIPViT(**{**SIZES, "local_attn_depth": 1, **changes})


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"images are 16 x 16 but CLIPViT was made for 32 x 32"):
        clip()(torch.zeros(1, 3, 16, 16))


@pytest.fixture
def model():
    parts = dict(type="CLIPViT", image_size=16, patch_size=8, width=16, depth=2, num_heads=2, local_attn_depth=1)
    return tiny_model(vision_encoder=parts)


def test_in_a_model_parts_have_tokens_of_their_own_and_whole_images_share_theirs(model):
    batch = region_batch()
    context = model.encode(batch).context
    assert context.tokens.shape == (2 + 4, 4, 16)  # one of the five pairs has the whole image
    assert context.owner.tolist() == [2, 1, 3, 4, 5]
    assert context.whole_owner.tolist() == batch.owner.tolist()
    wholes, summaries = model.vision_encoder(batch.pixels)
    torch.testing.assert_close(context.summary[1], summaries[1])
    for pair in (0, 2, 3, 4):
        expected, summary = model.vision_encoder.encode_regions(
            batch.pixels, batch.owner[pair : pair + 1], context.mask[pair : pair + 1]
        )
        torch.testing.assert_close(context.tokens[context.owner[pair]], expected[2])
        torch.testing.assert_close(context.summary[pair], summary[2])
    full = model.encode(batch).full_context
    torch.testing.assert_close(full.tokens[full.owner], wholes[batch.owner])
    torch.testing.assert_close(full.summary, summaries[batch.owner])
    assert full.mask.all()


def test_in_a_model_every_objective_runs_on_parts_and_on_images_and_clips(model):
    clip_batch = image_batch()
    clip_batch.pixels = clip_batch.pixels[:, None].expand(-1, 3, -1, -1, -1)
    for batch, names in ((region_batch(), None), (image_batch(), ("itc", "itm", "mlm")), (clip_batch, ("itc", "mlm"))):
        losses = model(batch, objectives=names)
        assert all(loss.isfinite() for loss in losses.values())
    sum(model(region_batch()).values()).backward()
    assert all(p.grad is not None for p in model.vision_encoder.parameters())


def test_chosen_contexts_keep_what_is_whole(model):
    context = model.encode(region_batch()).context
    chosen = context.select(torch.tensor([4, 1]))
    torch.testing.assert_close(chosen.whole().summary, context.whole().summary[[4, 1]])
    assert chosen.whole().owner.tolist() == [0, 1]
