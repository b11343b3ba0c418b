import pytest
import torch
from transformers import AutoConfig, AutoModel

from x2vlm.models.text import HFTextEncoder

TINY = dict(vocab_size=20, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16)
KINDS = ["bert", "roberta", "xlm-roberta", "electra"]


def texts(pad):
    ids = torch.tensor([[2, 7, 8, 9, 3], [2, 7, 3, pad, pad]])
    return ids, torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], dtype=torch.bool)


@pytest.mark.parametrize("kind", KINDS)
def test_our_attention_equals_the_models_own(kind):
    config = dict(model_type=kind, **TINY)
    ours, own = (HFTextEncoder(config=config, attention=name).eval() for name in ("eager", "native"))
    own.load_state_dict(ours.state_dict())
    ids, mask = texts(ours.pad_token_id)
    torch.testing.assert_close(ours(ids, mask)[mask], own(ids, mask)[mask], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_has_no_influence(kind):
    encoder = HFTextEncoder(config=dict(model_type=kind, **TINY)).eval()
    ids, mask = texts(encoder.pad_token_id)
    alone = encoder(ids[1:, :3], mask[1:, :3])
    torch.testing.assert_close(encoder(ids, mask)[1:, :3], alone, atol=1e-5, rtol=1e-5)


def test_the_lower_layers_of_a_folder_are_those_of_the_whole(tmp_path):
    whole = AutoModel.from_config(AutoConfig.for_model("bert", **TINY)).eval()
    whole.save_pretrained(tmp_path)
    lower = HFTextEncoder(path=str(tmp_path), depth=1).eval()
    ids, mask = texts(0)
    states = whole(ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
    torch.testing.assert_close(lower(ids, mask)[mask], states[1][mask], atol=1e-5, rtol=1e-5)
    assert lower.pretrained_names() == {name for name, _ in lower.named_parameters()}


def test_fresh_weights_count_as_fresh():
    assert HFTextEncoder(config=dict(model_type="bert", **TINY)).pretrained_names() == set()


def test_the_vocabulary_comes_from_the_tokenizer():
    config = {key: value for key, value in TINY.items() if key != "vocab_size"}
    encoder = HFTextEncoder(config=dict(model_type="bert", **config), vocab_size=33, pad_token_id=1)
    assert encoder.word_embeddings.shape == (33, 8)
    assert encoder.pad_token_id == 1


def test_a_tokenizer_with_more_words_than_the_model_is_refused(tmp_path):
    AutoModel.from_config(AutoConfig.for_model("bert", **TINY)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"the tokenizer has 21 words but .* for 20"):
        HFTextEncoder(path=str(tmp_path), vocab_size=21)


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ValueError, match="depth=3 but config has 2 layers"):
        HFTextEncoder(config=dict(model_type="bert", **TINY), depth=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(), "either path .* or config"),
        (dict(config=dict(hidden_size=8)), "needs model_type"),
        (dict(path="/nowhere/bert"), "/nowhere/bert does not exist"),
        (dict(config=dict(model_type="t5")), "'t5' is an encoder with a decoder, not a text encoder"),
        (dict(config=dict(model_type="clip")), r"'clip' has several parts\. Name .*model_type='clip_text_model'"),
        (dict(config=dict(model_type="siglip")), "'siglip' has several parts, and .*'siglip_text_model' only inside"),
        (dict(config=dict(model_type="siglip_text_model")), "builds 'siglip_text_model' only inside another model"),
    ],
)
def test_what_cannot_work_is_reported_in_a_sentence(arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        HFTextEncoder(**arguments)


PACKED = ["bert", "roberta", "xlm-roberta"]


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("pads_inside", [False, True])
def test_texts_one_behind_the_other_are_the_padded_texts_of_transformers(kind, pads_inside):
    config = dict(model_type=kind, **TINY, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    packed, padded = (HFTextEncoder(config=config, attention=name).train() for name in ("auto", "native"))
    padded.load_state_dict(packed.state_dict())
    ids = torch.randint(5, 20, (4, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(7) < torch.tensor([5, 7, 1, 3])[:, None]
    ids[~mask] = packed.pad_token_id
    if pads_inside:
        ids[1, 2] = ids[0, 1] = packed.pad_token_id  # RoBERTa and XLM-R count positions without them
    states = []
    for encoder in (packed, padded):
        states.append(encoder(ids, mask)[mask])
        weights = torch.randn(states[-1].shape, generator=torch.Generator().manual_seed(1))
        (states[-1] * weights).sum().backward()
    torch.testing.assert_close(*states, atol=1e-5, rtol=1e-5)
    wanted = {name: p.grad for name, p in padded.named_parameters()}
    for name, parameter in packed.named_parameters():
        torch.testing.assert_close(
            parameter.grad, wanted[name], atol=1e-5, rtol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("kind", PACKED)
def test_nothing_is_computed_at_padding(kind):
    encoder, rows = HFTextEncoder(config=dict(model_type=kind, **TINY)).eval(), []
    encoder.net.encoder.layer[0].intermediate.dense.register_forward_hook(
        lambda module, given, out: rows.append(given[0].shape[:-1].numel())
    )
    ids, mask = texts(encoder.pad_token_id)
    out = encoder(ids, mask)
    assert rows == [int(mask.sum())]
    assert not out[~mask].any()


def test_another_vocabulary_takes_the_place_of_the_words_alone(tmp_path):
    own, other = tmp_path / "own", tmp_path / "other"
    AutoModel.from_config(AutoConfig.for_model("bert", **TINY)).save_pretrained(own)
    words = AutoModel.from_config(AutoConfig.for_model("xlm-roberta", **(TINY | dict(vocab_size=33))))
    words.save_pretrained(other)
    before = HFTextEncoder(path=str(own)).state_dict()
    encoder = HFTextEncoder(path=str(own), word_embeddings=str(other), vocab_size=33, pad_token_id=1)
    assert (encoder.vocab_size, encoder.pad_token_id) == (33, 1)
    torch.testing.assert_close(encoder.word_embeddings, words.get_input_embeddings().weight)
    after = {name: value for name, value in encoder.state_dict().items() if "word_embeddings" not in name}
    assert all(value.equal(before[name]) for name, value in after.items())
    ids, mask = texts(1)
    assert encoder(ids, mask).shape == (2, 5, 8)
    kept = encoder.portable_config(dict(type="HFTextEncoder", path=str(own), word_embeddings=str(other)))
    assert "word_embeddings" not in kept
    assert kept["config"]["vocab_size"] == 33


def test_an_encoder_that_knows_its_own_weights_keeps_its_arguments():
    class Own(HFTextEncoder):
        def __init__(self, vocab_size=None, frozen=True):
            super().__init__(config=dict(model_type="bert", **TINY), vocab_size=vocab_size)

    class Open(HFTextEncoder):
        def __init__(self, frozen=True, **options):
            super().__init__(**options)

    assert Own().portable_config(dict(type="Own", frozen=False)) == dict(type="Own", frozen=False)
    given = dict(type="Open", frozen=False, config=dict(model_type="bert", **TINY))
    kept = Open(config=given["config"]).portable_config(given)
    assert kept["frozen"] is False
    assert kept["config"]["hidden_size"] == TINY["hidden_size"]


def test_words_of_another_width_are_refused(tmp_path):
    AutoModel.from_config(AutoConfig.for_model("bert", **(TINY | dict(hidden_size=4)))).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="expected word embeddings of width 8; it has some of width 4"):
        HFTextEncoder(config=dict(model_type="bert", **TINY), word_embeddings=str(tmp_path))
