"""Text encoders of other makes inside the whole model: where the summary is, and how words are scored."""

import pytest
import torch

from tests.models.conftest import image_batch, random_texts, tiny_model
from x2vlm.benchmark.encoder_comparison.text_comparison import tiny
from x2vlm.models.outputs import context_of_text


def model_with(kind: str, **changes):
    config = tiny(kind)[0] | dict(vocab_size=30, pad_token_id=0) | changes
    summary = "last" if kind == "gpt2" else "first"
    return tiny_model(text_encoder=dict(type="HFTextEncoder", config=config, summary=summary))


def test_the_last_real_token_stands_for_a_text_that_is_read_from_left_to_right():
    model, batch = model_with("gpt2"), image_batch()
    states = model.encode(batch).text
    last = batch.text_mask.sum(dim=1) - 1
    assert last.unique().numel() > 1  # texts of different lengths
    wanted = states.embeds[torch.arange(len(last)), last]
    torch.testing.assert_close(states.summary, wanted)
    torch.testing.assert_close(states.feat, torch.nn.functional.normalize(model.text_proj(wanted), dim=-1))


def test_all_of_its_words_are_there_where_such_a_text_plays_the_context():
    states = model_with("gpt2").encode(image_batch()).text
    context = context_of_text(states)
    assert context.tokens.shape == states.embeds.shape
    torch.testing.assert_close(context.summary, states.summary)
    order = torch.arange(len(states)).flip(0)
    torch.testing.assert_close(states.select(order).summary, states.summary[order])


@pytest.mark.parametrize("kind", ["electra", "albert"])
def test_words_are_scored_in_the_width_of_their_embeddings(kind):
    model, batch = model_with(kind, embedding_size=12), image_batch()
    assert model.text_encoder.word_embeddings.shape == (30, 12)
    losses = model.train()(batch, objectives=["mlm", "itc"])
    losses["loss_mlm"].backward()
    assert losses["loss_mlm"].isfinite()
    assert model.objectives["mlm"].dense.weight.shape == (12, 16)
    assert model.text_encoder.word_embeddings.grad.abs().sum() > 0


def test_a_head_of_its_own_keeps_the_width_of_the_fusion_encoder():
    config = tiny("electra")[0] | dict(vocab_size=30, embedding_size=12)
    objectives = dict(mlm=dict(type="MLM", tied=False))
    model = tiny_model(text_encoder=dict(type="HFTextEncoder", config=config), objectives=objectives)
    assert model.objectives["mlm"].dense.weight.shape == (16, 16)


def test_texts_with_their_own_masks_are_read_by_types_with_our_attention():
    ids, mask = (random_texts(2)[key] for key in ("text_ids", "text_mask"))
    model = model_with("distilbert")
    own = mask[:, None].expand(-1, 6, -1) & torch.ones(6, 6, dtype=torch.bool).tril()
    whole = model.text_encoder(ids, own)
    torch.testing.assert_close(whole[:1, :3], model.text_encoder(ids[:1, :3], own[:1, :3, :3]), atol=1e-5, rtol=1e-5)
