import pytest
import torch
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel, XLMRobertaConfig, XLMRobertaForMaskedLM

from tests.models.conftest import encoded_for, image_batch, losses_of, tiny_model
from x2vlm.objectives.mlm import MLM


def test_it_is_the_mean_over_the_masked_words_of_the_whole_batch():
    model = tiny_model()
    batch = image_batch()
    batch.mlm_positions = torch.tensor([[2, 3], [2, 0], [2, 0], [2, 1]])
    batch.mlm_labels = torch.tensor([[7, 8], [9, -100], [10, -100], [11, 12]])
    encoded = encoded_for(model, batch)
    mlm = model.objectives["mlm"]
    hidden = model.fuse(encoded.context, encoded.masked_text)
    terms = [
        nn.functional.cross_entropy(mlm.score(hidden[b, batch.mlm_positions[b, m]], encoded.word_embeddings), label)
        for b, row in enumerate(batch.mlm_labels)
        for m, label in enumerate(row)
        if label >= 0
    ]
    torch.testing.assert_close(losses_of(model, "mlm", encoded)["loss_mlm"], torch.stack(terms).mean())
    assert len(mlm.logits(encoded, model.read(mlm.requests(encoded)))) == len(terms)


def test_a_batch_without_masked_words_costs_nothing_and_stays_finite():
    model = tiny_model()
    batch = image_batch()
    batch.mlm_labels = torch.full_like(batch.mlm_labels, -100)
    assert losses_of(model, "mlm", encoded_for(model, batch))["loss_mlm"] == 0


def test_a_tied_decoder_sends_its_gradient_to_the_word_embeddings():
    model = tiny_model()
    model(image_batch(), objectives=("mlm",))["loss_mlm"].backward()
    grad = model.text_encoder.word_embeddings.grad
    assert (grad[20:].abs().sum(1) > 0).all()  # even words that no text contains


def test_an_untied_decoder_has_a_matrix_of_its_own():
    tied, untied = MLM(width=4, vocab_size=9), MLM(width=4, vocab_size=9, tied=False)
    assert set(dict(untied.named_parameters())) - set(dict(tied.named_parameters())) == {"decoder.weight"}
    hidden, words = torch.randn(2, 4), torch.randn(9, 4)
    assert not torch.equal(untied.score(hidden, words), tied.score(hidden, words))
    torch.testing.assert_close(untied.score(hidden, words), untied.score(hidden, torch.zeros(9, 4)))


SIZES = dict(vocab_size=30, hidden_size=8, num_attention_heads=2, intermediate_size=32, num_hidden_layers=2)


def saved(net, folder):
    """A network of transformers in a folder, its norms and biases away from 1 and 0."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter))
    net.save_pretrained(folder)
    return net


def from_folder(folder, **mlm):
    text = dict(type="HFTextEncoder", path=str(folder))
    objectives = dict(itm=dict(type="ITM"), mlm=dict(type="MLM", **mlm), text_mlm=dict(type="TextMLM"))
    return tiny_model(text_encoder=text, objectives=objectives)


def test_heads_are_initialised_from_the_word_head_of_the_text_encoders_weights_and_do_not_count_as_new(tmp_path):
    bert = saved(BertForMaskedLM(BertConfig(**SIZES)), tmp_path).cls.predictions
    model = from_folder(tmp_path)
    for name in ("mlm", "text_mlm"):
        head = model.objectives[name]
        assert torch.equal(head.dense.weight, bert.transform.dense.weight)
        assert torch.equal(head.LayerNorm.bias, bert.transform.LayerNorm.bias)
        assert torch.equal(head.bias, bert.bias)
    fresh = model.fresh_parameters()
    assert not [name for name in fresh if "mlm" in name] and "objectives.itm.head.0.weight" in fresh


def test_a_matrix_of_its_own_begins_as_the_words_of_those_weights(tmp_path):
    xlmr = saved(XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES, pad_token_id=1, type_vocab_size=1)), tmp_path)
    model = from_folder(tmp_path, tied=False, layer_norm_eps=1e-5)
    head = model.objectives["mlm"]
    assert torch.equal(head.decoder.weight, xlmr.roberta.embeddings.word_embeddings.weight)
    assert torch.equal(head.dense.weight, xlmr.lm_head.dense.weight)
    assert torch.equal(head.LayerNorm.weight, xlmr.lm_head.layer_norm.weight)
    assert torch.equal(head.bias, xlmr.lm_head.bias)


@pytest.mark.parametrize("headless", [True, False])
def test_without_a_head_that_fits_a_head_is_new(headless, tmp_path):
    saved((BertModel if headless else BertForMaskedLM)(BertConfig(**SIZES)), tmp_path)
    head = MLM(width=8 if headless else 4, vocab_size=30, init_from=str(tmp_path))
    assert head.pretrained_names() == set() and not head.bias.any()
