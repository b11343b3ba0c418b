"""Golden case a: the official pre-training model at tiny size, recorded in fp32 without dropout."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.models.conftest import encoded_for
from tests.models.conftest import losses_of as losses_of_one
from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Batch
from x2vlm.models.x2vlm import X2VLM
from x2vlm.weights.published_names import our_name
from x2vlm.weights.published_state import from_published

TEXT_LAYERS = 4
WEIGHTS = {"image": 1.0, "region": 0.5, "text": 0.7, "video": 0.8}
OUTPUT, GRADIENT = 2e-5, 1e-4  # absolute for outputs and losses, relative norm for gradients


@pytest.fixture(scope="module")
def recorded(shared):
    path = shared / "golden" / "a_pretrain_beit2_bert.safetensors"
    return load_file(path), json.loads(path.with_suffix(".json").read_text())


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def model(request, recorded):
    tensors, info = recorded
    tiny = info["config"]["tiny"]["text"]
    text = {
        k: tiny[k] for k in ("vocab_size", "hidden_size", "num_attention_heads", "intermediate_size", "layer_norm_eps")
    }
    model = X2VLM(
        vision_encoder=dict(type="BEiT2", image_size=64, width=64, depth=3, num_heads=4),
        text_encoder=dict(
            type="HFTextEncoder",
            config=dict(model_type="bert", num_hidden_layers=TEXT_LAYERS, max_position_embeddings=64, **text),
        ),
        fusion_encoder=dict(type="CrossAttentionFusion", depth=2, num_heads=4, mlp_width=tiny["intermediate_size"]),
        objectives=dict(
            itc=dict(type="ITC", positives="pairs"),
            itm=dict(type="ITM", positives="pairs"),
            mlm=dict(type="MLM"),
            bbox=dict(type="BBox"),
        ),
        embed_dim=32,
        num_frames=3,
        attention=request.param,
    )
    state = {name[6:]: value for name, value in tensors.items() if name.startswith("state.")}
    model.load_state_dict(from_published(state, TEXT_LAYERS), strict=True)
    return model.eval()


def batch_of(kind, tensors):
    given = {name.split(".", 2)[2]: value for name, value in tensors.items() if name.startswith(f"in.{kind}.")}
    batch = Batch(
        text_ids=given["text_ids"],
        text_mask=given["text_atts"].bool(),
        masked_ids=given["text_ids_masked"],
        mlm_positions=given["masked_pos"],
        mlm_labels=given["masked_ids"],
        pixels=given.get("image"),
    )
    if kind != "text":
        batch.owner = given.get("idx_to_group_img", torch.arange(len(batch)))
    if kind == "region":
        batch.boxes_xyxy, batch.has_box = cxcywh_to_xyxy(given["target_bbox"]), given["is_image"] == 0
    return batch, given


def losses_of(model, kind, tensors):
    batch, given = batch_of(kind, tensors)
    encoded = encoded_for(model, batch)
    losses = losses_of_one(model, "mlm", encoded)
    if kind != "text":
        losses |= losses_of_one(model, "itc", encoded)
        pairs = model.objectives["itm"].request(encoded, given["image_neg_idx"], given["text_neg_idx"])
        losses |= model.objectives["itm"].losses(encoded, model.read([pairs]))
    if kind == "region":
        losses |= losses_of_one(model, "bbox", encoded)
    return losses, encoded, given


def word_logits(model, batch):
    """Scores at all positions, those without a label too."""
    batch = replace(batch, mlm_labels=batch.mlm_labels.clamp(min=0))
    mlm, encoded = model.objectives["mlm"], encoded_for(model, batch)
    return mlm.logits(encoded, model.read(mlm.requests(encoded))).view(*batch.mlm_labels.shape, -1)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=OUTPUT, rtol=0)


@pytest.mark.parametrize("kind", WEIGHTS)
def test_losses_and_gradient_norms_are_the_recorded_ones(kind, model, recorded):
    tensors, _ = recorded
    model.zero_grad()
    losses, _, _ = losses_of(model, kind, tensors)
    expected = {n.split(".")[2]: v for n, v in tensors.items() if n.startswith(f"out.{kind}.loss_")}
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        close(losses[name], value)
    sum(losses.values()).backward()
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    torch.testing.assert_close(norm, tensors[f"out.{kind}.grad_norm"], rtol=1e-5, atol=0)


@pytest.mark.parametrize("kind", ["image", "region", "video"])
def test_embeddings_features_and_logits_are_the_recorded_ones(kind, model, recorded):
    tensors, _ = recorded
    batch, given = batch_of(kind, tensors)
    with torch.no_grad():
        encoded = model.encode(batch)
        patches = encoded.context.tokens[encoded.context.owner]
        close(torch.cat([encoded.context.summary[:, None], patches], 1), tensors[f"out.{kind}.image_embeds"])
        close(encoded.text.embeds[batch.text_mask], tensors[f"out.{kind}.text_embeds"][batch.text_mask])
        close(encoded.context.feat, tensors[f"out.{kind}.image_feat"])
        close(encoded.text.feat, tensors[f"out.{kind}.text_feat"])
        itm = model.objectives["itm"]
        pairs = model.read([itm.request(encoded, given["image_neg_idx"], given["text_neg_idx"])])[0]
        close(itm.score(pairs.states), tensors[f"out.{kind}.itm_logits"])
        t2i, i2t = itm.sampling_weights(encoded)
        close(t2i, tensors[f"out.{kind}.weights_t2i"])
        close(i2t, tensors[f"out.{kind}.weights_i2t"])
        close(word_logits(model, batch), tensors[f"out.{kind}.mlm_logits"])
        if kind == "region":
            full = encoded.full_context
            whole = torch.cat([full.summary[:, None], full.tokens[full.owner]], 1)
            close(whole, tensors["out.region.image_embeds_fullatts"])
            bbox = model.objectives["bbox"]
            close(bbox.box(model.read(bbox.requests(encoded))[0].states), tensors["out.region.output_coord"])


def test_words_of_plain_text_are_predicted_without_any_context(model, recorded):
    tensors, _ = recorded
    with torch.no_grad():
        close(word_logits(model, batch_of("text", tensors)[0]), tensors["out.text.mlm_logits"])


def test_patches_of_a_box_are_the_recorded_ones(recorded):
    tensors, _ = recorded
    ours = boxes_to_patch_mask(cxcywh_to_xyxy(tensors["in.region.target_bbox"]), grid=(4, 4))
    assert torch.equal(ours, tensors["in.region.image_atts"][:, 1:].bool())


def test_the_mixed_loss_and_its_gradients_are_the_recorded_ones(model, recorded):
    tensors, _ = recorded
    model.zero_grad()
    total = sum(weight * sum(losses_of(model, kind, tensors)[0].values()) for kind, weight in WEIGHTS.items())
    close(total, tensors["out.mixed.total_loss"])
    total.backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    norm = torch.stack([g.norm() for g in grads.values()]).norm()
    torch.testing.assert_close(norm, tensors["out.mixed.grad_norm"], rtol=1e-5, atol=0)
    checked = 0
    for name, expected in tensors.items():
        if name.startswith("grad."):
            ours = grads[our_name(name[5:], TEXT_LAYERS)]
            assert (ours - expected).norm() <= GRADIENT * expected.norm(), name
            checked += 1
    assert checked == 21


def test_exactly_what_is_not_loaded_counts_as_new(model, recorded):
    _, info = recorded
    from_towers = {"vision_encoder", "text_encoder", "fusion_encoder"}
    heads = {n for n in model.fresh_parameters() if n.split(".")[0] not in from_towers and "objectives.mlm" not in n}
    assert heads == {our_name(name, TEXT_LAYERS) for name in info["init_params"]}
