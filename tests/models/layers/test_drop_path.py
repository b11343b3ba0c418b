"""Stochastic depth in text and fusion layers."""

import pytest
import torch

from tests.models.conftest import image_batch, tiny_model
from x2vlm.models.fusion.encoder import CrossAttentionFusion
from x2vlm.models.layers.drop_path import DropPath, linear_rates
from x2vlm.models.outputs import TextStates
from x2vlm.models.text import HFTextEncoder

TEXT = dict(
    vocab_size=20,
    hidden_size=8,
    num_hidden_layers=3,
    num_attention_heads=2,
    intermediate_size=16,
    hidden_dropout_prob=0.3,
    attention_probs_dropout_prob=0.2,
)


def dropped(unit, rate=0.5, shape=(40, 30, 4)):
    torch.manual_seed(0)
    return DropPath(rate, unit).train()(torch.ones(shape))


def test_whole_samples_are_dropped_and_the_rest_scaled_up():
    out = dropped("samples")
    assert all(len(sample.unique()) == 1 for sample in out)
    assert set(out.unique().tolist()) == {0.0, 2.0}


def test_the_published_unit_drops_token_positions_for_the_whole_batch():
    out = dropped("positions")
    assert torch.equal(out, out[:1].expand_as(out))
    assert set(out[0, :, 0].tolist()) == {0.0, 2.0}


@pytest.mark.parametrize(("unit", "shape"), [("samples", (3, 1, 1)), ("positions", (1, 5, 1))])
def test_the_mask_has_the_shape_of_its_unit(unit, shape):
    assert DropPath(0.1, unit).mask_shape(torch.zeros(3, 5, 8)) == shape


def test_the_expectation_is_the_branch_itself():
    assert dropped("samples", rate=0.2, shape=(20000, 1, 1)).mean().item() == pytest.approx(1, abs=0.02)


def test_nothing_is_dropped_outside_training():
    branch = torch.randn(2, 3, 4)
    assert torch.equal(DropPath(0.9).eval()(branch), branch)


def test_rates_grow_linearly_over_text_and_over_fusion_layers_on_their_own():
    model = tiny_model(
        text_encoder=dict(type=HFTextEncoder, config=dict(model_type="bert", **TEXT), drop_path=0.1),
        fusion_encoder=dict(type=CrossAttentionFusion, depth=2, num_heads=2, drop_path=0.1),
    )
    text = [layer.output.dropout.rate for layer in model.text_encoder.net.encoder.layer]
    fusion = [layer.ffn.hidden_dropout.rate for layer in model.fusion_encoder.layer]
    assert text == pytest.approx([0, 0.05, 0.1])
    assert fusion == pytest.approx([0, 0.1])
    assert linear_rates(0.1, 12) == pytest.approx([0.1 * i / 11 for i in range(12)])


@pytest.mark.parametrize("kind", ["bert", "roberta", "xlm-roberta"])
def test_it_replaces_hidden_dropout_and_keeps_that_of_embeddings_and_attention(kind):
    net = HFTextEncoder(config=dict(model_type=kind, **TEXT), drop_path=0.1, drop_path_unit="positions").net
    assert net.embeddings.dropout.p == 0.3
    for layer in net.encoder.layer:
        assert layer.attention.self.dropout.p == 0.2
        hidden = [part for name, part in layer.named_modules() if name.endswith("output.dropout")]
        assert len(hidden) == 2 and all(part.unit == "positions" for part in hidden)
    fusion = CrossAttentionFusion(width=8, context_width=4, depth=2, num_heads=2, dropout=0.1, drop_path=0.1)
    for layer in fusion.layer:
        assert layer.attention.dropout == layer.crossattention.dropout == 0.1
        assert not any(isinstance(part, torch.nn.Dropout) for part in layer.modules())


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_in_evaluation_it_changes_nothing_and_adds_no_weights(rate):
    reference, other = (
        tiny_model(fusion_encoder=dict(type=CrossAttentionFusion, depth=2, num_heads=2, init_std=0.3, drop_path=p))
        for p in (0.0, rate)
    )
    other.load_state_dict(reference.state_dict())
    encoded, again = reference.encode(image_batch()), other.encode(image_batch())
    assert torch.equal(reference.encode(image_batch()).text.embeds, again.text.embeds)
    assert torch.equal(reference.fuse(encoded.context, encoded.text), other.fuse(again.context, again.text))


def test_a_layer_whose_branches_are_all_dropped_only_normalises():
    fusion = CrossAttentionFusion(width=8, context_width=8, depth=1, num_heads=2, dropout=0.0)
    fusion.train().layer[0].set_drop_path(1 - 1e-7, "samples")
    hidden = torch.randn(2, 3, 8)
    norm = torch.nn.functional.layer_norm
    expected = norm(norm(hidden, (8,), eps=1e-12), (8,), eps=1e-12)  # self-attention and feed-forward, no context
    out = fusion(TextStates(hidden, torch.ones(2, 3, dtype=torch.bool)), None)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_what_cannot_work_is_reported_in_a_sentence():
    with pytest.raises(ValueError, match=r"drop_path is 1\.0; expected a probability"):
        DropPath(1.0)
    with pytest.raises(ValueError, match=r"'position'.*positions"):
        DropPath(0.1, "position")
    albert = dict(TEXT, model_type="albert", embedding_size=8)
    with pytest.raises(ValueError, match="drop_path needs layers like BERT's"):
        HFTextEncoder(config=albert, drop_path=0.1)
