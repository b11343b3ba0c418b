import pytest
import torch

from tests.models.conftest import image_batch, random_texts, region_batch, tiny_model
from x2vlm.building import ConfigError
from x2vlm.data.batch import Batch
from x2vlm.models.fusion.requests import FusionRequest
from x2vlm.models.needs import Needs
from x2vlm.models.region_patches import mean_of_masked_patches


def test_an_image_stream_equals_a_region_stream_of_whole_boxes(model):
    images, regions = image_batch(), image_batch()
    regions.boxes_xyxy = torch.tensor([[0.0, 0.0, 1.0, 1.0]]).expand(4, 4)
    regions.has_box = torch.zeros(4, dtype=torch.bool)
    first, second = model.encode(images), model.encode(regions)
    torch.testing.assert_close(first.context.feat, second.context.feat)
    torch.testing.assert_close(model.fuse(first.context, first.text), model.fuse(second.context, second.text))


def test_the_mean_of_a_part_is_the_mean_of_its_patches(model):
    encoded = model.encode(region_batch())
    context = encoded.context
    for b in range(5):
        own = context.tokens[context.owner[b]][context.mask[b]].mean(0)
        torch.testing.assert_close(context.summary[b], own, atol=1e-6, rtol=1e-5)


def test_parts_are_averaged_over_the_right_image():
    tokens = torch.arange(12.0).view(2, 3, 2)
    mask = torch.tensor([[True, False, True], [True, False, True]])
    assert mean_of_masked_patches(tokens, torch.tensor([0, 1]), mask).tolist() == [[2.0, 3.0], [8.0, 9.0]]


def test_a_still_clip_without_frame_positions_is_its_frame(model):
    torch.nn.init.zeros_(model.frame_positions)
    image = image_batch()
    clip = image_batch()
    clip.pixels = clip.pixels[:, None].expand(-1, 3, -1, -1, -1)
    torch.testing.assert_close(
        model.encode(clip).context.tokens, model.encode(image).context.tokens, atol=1e-5, rtol=1e-5
    )


def test_frame_positions_encode_the_order_of_frames(model):
    clip = torch.randn(1, 3, 3, 16, 16)
    torch.nn.init.normal_(model.frame_positions)
    tokens, _ = model.encode_pixels(clip)
    shorter, _ = model.encode_pixels(clip[:, :2])
    expected = torch.stack(
        [model.encode_pixels(clip[:, f])[0] + model.frame_positions[:, f] for f in range(2)], dim=1
    ).mean(1)
    torch.testing.assert_close(shorter, expected, atol=1e-5, rtol=1e-5)
    assert tokens.shape == (1, 4, 16)


def test_more_frames_than_positions_are_refused(model):
    with pytest.raises(ValueError, match=r"4 frames but model\.num_frames is 3"):
        model.encode_pixels(torch.zeros(1, 4, 3, 16, 16))


def test_plain_text_runs_without_a_context_and_refuses_what_needs_one(model):
    batch = Batch(**random_texts(3), where=["book.txt:1", "book.txt:2", "book.txt:3"])
    assert set(model(batch, objectives=("mlm",))) == {"loss_mlm"}
    with pytest.raises(ValueError, match=r"objective 'itc' needs context\.feat, but book\.txt:1, book\.txt:2"):
        model(batch, objectives=("itc",))


def test_an_unknown_objective_is_named_with_those_there_are(model):
    with pytest.raises(ValueError, match="'bboxes' is not one of this model's objectives: itc, itm, mlm, bbox"):
        model(image_batch(), objectives=("bboxes",))


@pytest.mark.parametrize("name", ["itc", "mlm", "bbox"])
def test_the_weight_of_an_objective_is_a_factor_of_its_losses(name):
    kinds = dict(itc="ITC", mlm="MLM", bbox="BBox")
    full, half = (tiny_model(objectives={name: dict(type=kinds[name], weight=weight)}) for weight in (1.0, 0.5))
    half.load_state_dict(full.state_dict())
    whole, halved = full(region_batch()), half(region_batch())
    assert whole.keys() == halved.keys()
    for key in whole:
        torch.testing.assert_close(halved[key], whole[key] / 2)


def test_only_what_is_needed_is_encoded(model):
    batch, calls = region_batch(), []
    model.text_encoder.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    encoded = model.encode(batch, Needs(masked_text=True))
    assert encoded.text is None and encoded.context is None
    assert len(encoded.masked_text) == len(batch) and calls == [len(batch)]
    assert model.encode(batch, Needs(context=True)).context.feat is None
    assert calls == [len(batch)]


def test_the_temperature_is_kept_in_its_range(model):
    for value, expected in ((2.0, 0.5), (0.0, 0.001), (0.1, 0.1)):
        model.temperature.data.fill_(value)
        model.clamp_temperature()
        assert model.temperature.item() == pytest.approx(expected)


def test_a_batch_moves_with_all_its_tensors():
    batch = region_batch().to("meta")
    assert {batch.pixels.device.type, batch.owner.device.type, batch.boxes_xyxy.device.type} == {"meta"}


@pytest.mark.parametrize(
    ("size", "parameters"),
    [("base", 254758401), ("large", 592949057)],
)
def test_sizes_have_the_published_number_of_parameters(size, parameters):
    width, vision_depth = {"base": (768, 12), "large": (1024, 24)}[size]
    with torch.device("meta"):
        model = tiny_model(
            vision_encoder=dict(type="BEiT2", width=width, depth=vision_depth),
            text_encoder=dict(
                type="HFTextEncoder",
                config=dict(
                    model_type="bert",
                    hidden_size=width,
                    num_attention_heads=width // 64,
                    intermediate_size=4 * width,
                    num_hidden_layers=12,
                ),
            ),
            fusion_encoder=dict(type="CrossAttentionFusion", depth=6),
            embed_dim=256,
            num_frames=0,
        )
    assert sum(p.numel() for p in model.parameters()) == parameters


def test_a_model_without_a_shared_space_has_no_projections_and_still_fuses():
    model = tiny_model(embed_dim=None, objectives={"mlm": dict(type="MLM")})
    names = {name.split(".")[0] for name, _ in model.named_parameters()}
    assert names == {"vision_encoder", "text_encoder", "fusion_encoder", "frame_positions", "objectives"}
    encoded = model.encode(image_batch())
    assert encoded.text.feat is None
    assert encoded.context.feat is None
    assert model(image_batch())["loss_mlm"].isfinite()


def test_images_alone_need_no_text_encoder():
    model = tiny_model(text_encoder=None, fusion_encoder=None, objectives={}, embed_dim=None)
    batch = image_batch()
    encoded = model.encode(Batch(None, None, pixels=batch.pixels, owner=batch.owner))
    assert encoded.text is None
    torch.testing.assert_close(encoded.context.tokens, tiny_model().encode(batch).context.tokens)


def test_a_text_of_two_images_is_encoded_once_and_paired_with_both(model):
    batch = image_batch(4)
    pairs = Batch(
        batch.text_ids[:2],
        batch.text_mask[:2],
        pixels=batch.pixels,
        owner=torch.arange(4),
        text_owner=torch.tensor([0, 0, 1, 1]),
    )
    encoded = model.encode(pairs)
    assert len(encoded.text.embeds) == 2
    paired = model.read([FusionRequest(encoded.text, encoded.context, texts=pairs.text_owner)])[0].states
    torch.testing.assert_close(paired, model.fuse(encoded.context, encoded.text.select(pairs.text_owner)))


@pytest.mark.parametrize("backend", ["eager", "sdpa"])
def test_with_a_causal_mask_no_token_attends_to_a_later_one(backend):
    model = tiny_model(attention=backend)
    batch = image_batch(2)
    causal = torch.ones(6, 6, dtype=torch.bool).tril().expand(2, 6, 6)
    changed = batch.text_ids.clone()
    changed[:, 4] = 7

    def fused(ids):
        encoded = model.encode(batch)
        return model.fuse(encoded.context, model.encode_text(ids, causal))

    torch.testing.assert_close(fused(batch.text_ids)[:, :4], fused(changed)[:, :4])
    assert not torch.allclose(fused(batch.text_ids)[:, 4:], fused(changed)[:, 4:])


def test_positions_can_be_given(model):
    batch = image_batch(2)
    mask = torch.ones_like(batch.text_mask)
    own = model.encode_text(batch.text_ids, mask).embeds
    counted = model.encode_text(batch.text_ids, mask, torch.arange(6)[None]).embeds
    torch.testing.assert_close(own, counted)
    assert not torch.allclose(own, model.encode_text(batch.text_ids, mask, torch.arange(1, 7)[None]).embeds)


def test_a_fusion_that_detaches_texts_sends_no_gradient_to_the_text_encoder():
    model = tiny_model(fusion_encoder=dict(type="CrossAttentionFusion", depth=1, num_heads=2, detach_text=True))
    encoded = model.encode(image_batch())
    model.fuse(encoded.context, encoded.text).sum().backward()
    assert all(parameter.grad is None for parameter in model.text_encoder.parameters())
    assert model.vision_encoder.net.patch_embed.proj.weight.grad is not None


def test_texts_that_nobody_reads_unmasked_are_not_encoded(model):
    calls = []
    model.text_encoder.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    batch = Batch(**random_texts(3))
    model(batch, objectives=("mlm",))
    assert len(calls) == 1
    assert torch.equal(calls[0], batch.masked_ids)


def test_plain_and_masked_texts_are_encoded_in_one_pass(model):
    calls = []
    model.text_encoder.register_forward_pre_hook(lambda _, given: calls.append(given[0]))
    batch = region_batch()
    model(batch, objectives=("itc", "itm", "bbox", "mlm"))
    assert len(calls) == 1
    assert torch.equal(calls[0], torch.cat([batch.text_ids, batch.masked_ids]))


def test_an_attention_backend_that_is_not_known_is_refused_when_the_model_is_built():
    with pytest.raises(
        ConfigError, match=r"model\.attention: .*'flahs' is not known\. Accepted: .* Did you mean 'flash'"
    ):
        tiny_model(attention="flahs")


def test_one_that_cannot_run_here_is_named_with_the_reason_before_anything_is_learned():
    model = tiny_model(attention="xformers")
    with pytest.raises(ConfigError, match=r"cannot run on cpu in torch\.float32: xformers: .* Use 'auto' or 'eager'"):
        model(image_batch(), objectives=["itc"])
