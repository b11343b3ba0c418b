import pytest
import torch

from tests.objectives.test_caption import TOKENIZER, batch_of, image_batch
from tests.objectives.test_caption import model_of as captioner
from x2vlm.building import ConfigError
from x2vlm.config import load_config
from x2vlm.data.collate.caption_collate import prompt_ids
from x2vlm.models.generation.beam_search import BeamSearch
from x2vlm.objectives.caption import CaptionReader
from x2vlm.objectives.next_token_caption import smoothed_cross_entropy


@pytest.fixture
def net(seed):
    return captioner(type="NextTokenCaption")


@pytest.fixture
def batch(seed):
    return batch_of(masked="next")


def scores_at_every_token(net, batch):
    """``[B, L, V]``, by the published way: all tokens through causal layers, the head at each."""
    encoded = net.encode(batch)
    objective, context = net.objectives["caption"], encoded.context
    found = []
    for index, (ids, mask) in enumerate(zip(batch.text_ids, batch.text_mask, strict=True)):
        words = ids[mask.bool()]
        reader_rows = []
        for stop in range(1, len(words) + 1):
            reader = CaptionReader(objective, net, encoded, None)
            partial = words[None, :stop].expand(len(context), -1)
            reader_rows.append(reader(partial, torch.arange(len(context)))[index])
        found.append(torch.stack(reader_rows))
    return found


def test_every_token_after_the_prompt_is_the_label_of_the_one_before_it(batch):
    prompt = len(prompt_ids(TOKENIZER))
    for ids, mask, positions, labels in zip(
        batch.text_ids, batch.text_mask, batch.mlm_positions, batch.mlm_labels, strict=True
    ):
        words = ids[mask.bool()].tolist()
        real = labels != -100
        assert labels[real].tolist() == words[prompt + 1 :]
        assert positions[real].tolist() == list(range(prompt, len(words) - 1))
    assert torch.equal(batch.masked_ids, batch.text_ids)


def test_the_loss_is_the_smoothed_cross_entropy_of_the_next_token(net, batch):
    log_probs, targets = [], []
    prompt = len(prompt_ids(TOKENIZER))
    for row, ids, mask in zip(scores_at_every_token(net, batch), batch.text_ids, batch.text_mask, strict=True):
        words = ids[mask.bool()]
        log_probs.append(row[prompt:-1])
        targets.append(words[prompt + 1 :])
    expected = torch.nn.functional.cross_entropy(torch.cat(log_probs), torch.cat(targets), label_smoothing=0.1)
    torch.testing.assert_close(net(batch)["loss_caption"], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_target_is_smoothed_as_torch_does_it(smoothing):
    hidden, words, bias = torch.randn(5, 4), torch.randn(7, 4), torch.randn(7)
    labels = torch.tensor([0, 6, 3, 3, 1])
    expected = torch.nn.functional.cross_entropy(hidden @ words.T + bias, labels, label_smoothing=smoothing)
    torch.testing.assert_close(smoothed_cross_entropy(hidden, words, bias, labels, smoothing), expected)
    assert smoothed_cross_entropy(hidden[:0], words, bias, labels[:0], smoothing) == 0


@pytest.mark.parametrize("beams", [1, 3])
def test_a_cached_search_writes_what_an_uncached_one_does(net, beams):
    encoded, search = net.encode(image_batch(3)), BeamSearch(beams=beams, min_length=2, max_length=6)
    objective = net.objectives["caption"]
    cached, uncached = (objective.generate(net, encoded, search, cached=cached) for cached in (True, False))
    assert [one.ids for one in cached] == [one.ids for one in uncached]
    torch.testing.assert_close([one.score for one in cached], [one.score for one in uncached], rtol=1e-4, atol=1e-4)
    assert all(one.ids for one in cached)


@pytest.mark.parametrize(("objective", "masked"), [("NextTokenCaption", "twice"), ("CaptionGeneration", "next")])
def test_a_config_that_mixes_the_two_ways_of_learning_is_refused(root, objective, masked):
    overrides = {"model.objectives.caption.type": objective, "streams.image.collate.masked": masked}
    with pytest.raises(ConfigError, match=rf"collate\.masked: it is '{masked}', but .*caption is {objective}"):
        load_config(root / "configs" / "finetune" / "xvlm_swin_captioning_coco.py", overrides)


def test_masking_with_next_tokens_is_refused():
    with pytest.raises(ValueError, match="masked='next' masks nothing"):
        batch_of(masked="next", masking=dict(prob=0.5))
