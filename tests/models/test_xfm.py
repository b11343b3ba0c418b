"""X-FM: who learns from what, and masked words with and without an image."""

import pytest
import torch
from torch.nn.functional import cross_entropy, gelu, layer_norm

from tests.models.conftest import random_texts, region_batch, tiny_model
from x2vlm.data.batch import Batch

PAD = 1
TEXT = dict(
    model_type="roberta",
    vocab_size=30,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=18,
    type_vocab_size=1,
    pad_token_id=PAD,
    layer_norm_eps=1e-5,
    initializer_range=0.3,
)
FUSED = ("itm", "mlm", "bbox")


@pytest.fixture(scope="module")
def model():
    return tiny_model(
        vision_encoder=dict(type="BEiT2", image_size=16, patch_size=8, width=12, depth=2, num_heads=2, mask_token=True),
        text_encoder=dict(type="HFTextEncoder", config=TEXT),
        fusion_encoder=dict(
            type="CrossAttentionFusion", depth=2, num_heads=2, layer_norm_eps=1e-5, init_std=0.3, detach_text=True
        ),
        objectives=dict(
            itc=dict(type="ITC", positives="pairs"),
            itm=dict(type="ITM", positives="pairs"),
            mlm=dict(type="MLM", tied=False, layer_norm_eps=1e-5),
            bbox=dict(type="BBox"),
            mim=dict(type="MIM"),
            text_mlm=dict(type="TextMLM"),
        ),
        num_frames=0,
    )


def pairs():
    batch = region_batch()
    batch.text_ids[batch.text_ids == 0] = batch.masked_ids[batch.masked_ids == 0] = PAD
    batch.masked_patches = torch.tensor([[True, False, True, False], [False, True, True, False]])
    return batch


def learning(model, batch, *objectives):
    """Which parts get a gradient, by name."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(0)  # negatives are drawn
    sum(v for k, v in model(batch, objectives=objectives).items() if "loss" in k).backward()
    return {
        ".".join(name.split(".")[: 2 if name.startswith("objectives") else 1])
        for name, parameter in model.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def test_the_language_encoder_learns_from_masked_words_and_contrast_only(model):
    plain = Batch(**random_texts(3, seed=4))
    assert learning(model, plain, "text_mlm") == {"text_encoder", "objectives.text_mlm"}
    assert {"vision_encoder", "text_encoder"} < learning(model, pairs(), "itc")
    for name in FUSED:
        assert learning(model, pairs(), name) == {"vision_encoder", "fusion_encoder", f"objectives.{name}"}
    assert learning(model, pairs(), "mim") == {"vision_encoder"}


def test_without_detaching_the_language_encoder_learns_from_all(model):
    assert model.fusion_encoder.detach_text
    model.fusion_encoder.detach_text = False  # fine-tuning
    try:
        for name in FUSED:
            assert "text_encoder" in learning(model, pairs(), name)
    finally:
        model.fusion_encoder.detach_text = True


def test_detaching_changes_no_loss(model):
    losses = []
    for detach in (True, False):
        model.fusion_encoder.detach_text = detach
        torch.manual_seed(0)
        losses.append(model(pairs(), objectives=FUSED))
    model.fusion_encoder.detach_text = True
    for name in losses[0]:
        torch.testing.assert_close(losses[0][name], losses[1][name])


@torch.no_grad()
def test_masked_words_of_plain_text_are_predicted_from_the_text_encoder_alone(model):
    batch, head, scores = Batch(**random_texts(3, seed=4)), model.objectives["text_mlm"], []
    assert head.decoder is None
    for ids, mask, position in zip(batch.masked_ids, batch.text_mask, batch.mlm_positions[:, 0], strict=True):
        hidden = model.text_encoder(ids[mask][None], mask[mask][None])[0, position]
        hidden = layer_norm(gelu(head.dense(hidden)), (16,), head.LayerNorm.weight, head.LayerNorm.bias, 1e-5)
        scores.append(model.text_encoder.net.embeddings.word_embeddings.weight @ hidden + head.bias)
    expected = cross_entropy(torch.stack(scores), batch.mlm_labels[:, 0])
    torch.testing.assert_close(model(batch, objectives=("text_mlm",))["loss_text_mlm"], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_fused_words_go_through_the_text_encoder_and_words_of_the_head(model):
    batch = pairs()
    encoded, head = model.encode(batch), model.objectives["mlm"]
    assert head.decoder.weight is not model.text_encoder.word_embeddings
    fused = model.fusion_encoder(model.encode_text(batch.masked_ids, batch.text_mask), encoded.context)
    hidden = fused[torch.arange(5), batch.mlm_positions[:, 0]]
    hidden = layer_norm(gelu(head.dense(hidden)), (16,), head.LayerNorm.weight, head.LayerNorm.bias, 1e-5)
    expected = cross_entropy(hidden @ head.decoder.weight.T + head.bias, batch.mlm_labels[:, 0])
    torch.testing.assert_close(model(batch, objectives=("mlm",))["loss_mlm"], expected, atol=1e-5, rtol=1e-5)


def test_a_factor_for_each_objective_multiplies_its_losses_and_no_other(model):
    factors = dict(itc=0.5, mlm=0.25, bbox=1.0)
    unweighted, weighted = model(pairs(), objectives=tuple(factors)), model(pairs(), objectives=factors)
    for key, factor in dict(loss_itc=0.5, loss_mlm=0.25, loss_bbox=1.0, loss_giou=1.0).items():
        torch.testing.assert_close(weighted[key], factor * unweighted[key])
    assert weighted.keys() == unweighted.keys()


def test_a_factor_stands_beside_the_weight_of_the_objective(model):
    model.objectives["itc"].weight = 3.0
    try:
        tripled = model(pairs(), objectives=dict(itc=0.5))["loss_itc"]
    finally:
        model.objectives["itc"].weight = 1.0
    torch.testing.assert_close(tripled, 1.5 * model(pairs(), objectives=("itc",))["loss_itc"])
