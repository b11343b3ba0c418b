"""What a text rests on in an image."""

import numpy as np
import pytest
import torch

from x2vlm.building import build
from x2vlm.inference import Inferencer
from x2vlm.inference.tasks.explain import cross_attention_map, word_tokens
from x2vlm.registry import MODELS, TOKENIZERS

TEXT = "a green triangle above a red circle"


@pytest.fixture
def inferencer(cfg, checkpoint):
    return Inferencer.from_checkpoint(cfg, checkpoint)


@pytest.fixture
def image():
    return np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_the_probability_is_that_of_the_match(inferencer, image):
    expected = inferencer.match(image, TEXT)[0].probability
    assert inferencer.explain(image, TEXT).probability == pytest.approx(expected, abs=1e-5)


def test_attention_of_all_heads_and_tokens_is_the_mean_of_that_of_words(inferencer, image):
    model, processor = inferencer.model, inferencer.processor
    ids, mask = processor.captions([TEXT])
    pixels = processor.images([image])
    every = word_tokens(processor, ids[0], None)
    whole, _ = cross_attention_map(model, pixels, ids, mask, every, 0, "attention")
    single = [cross_attention_map(model, pixels, ids, mask, [token], 0, "attention")[0] for token in every]
    torch.testing.assert_close(torch.stack(single).mean(dim=0), whole)
    assert 0 < float(whole.sum()) < 1  # the rest is attention to the summary


def test_gradients_are_those_of_finite_differences(inferencer, image):
    """The map of Grad-CAM is attention times the slope of the logit, where it rises."""
    from x2vlm.models.encode import encode_pixels
    from x2vlm.models.fusion.one_image import read_with_image

    model, processor = inferencer.model.double(), inferencer.processor
    ids, mask = processor.captions([TEXT])
    pixels = processor.images([image]).double()
    with torch.no_grad():
        tokens, summary = encode_pixels(model, pixels)
        keys_values = model.fusion_encoder.project(torch.cat([summary[:, None], tokens], dim=1)[0])
        states = model.encode_text(ids, mask).embeds
        seen = []

        def logit(change):
            def probe(number, probabilities):
                seen.append(probabilities)
                return probabilities + change

            hidden = read_with_image(model.fusion_encoder.layer, states, mask, keys_values, probe)
            score = model.objectives["itm"].score(hidden[:, 0])[0]
            return score[1] - score[0]

        logit(0.0)
        attention, token, expected = seen[0], 3, []
        for patch in range(1, attention.shape[-1]):
            slopes = []
            for head in range(attention.shape[1]):
                change = torch.zeros_like(attention)
                change[0, head, token, patch] = 1e-5
                slopes.append((logit(change) - logit(-change)) / 2e-5)
            expected.append((attention[0, :, token, patch] * torch.stack(slopes).clamp(min=0)).mean())
    found, _ = cross_attention_map(model, pixels, ids, mask, [token], 0)
    torch.testing.assert_close(found, torch.stack(expected).float(), atol=1e-7, rtol=1e-3)


def test_a_word_has_a_map_of_its_own_over_the_grid(inferencer, image):
    maps = [inferencer.explain(image, TEXT, word, method="attention") for word in (None, "triangle", "red circle")]
    assert {one.heat.shape for one in maps} == {(2, 2)}
    assert all(one.heat.max() == 1 for one in maps)
    assert not np.array_equal(maps[1].heat, maps[2].heat)
    assert maps[0].draw().size == (60, 40)
    assert maps[1].to_dict()["word"] == "triangle"


def test_words_have_gradients_in_the_layer_that_is_chosen_of_two(cfg, seed, image):
    cfg.model.fusion_encoder.depth = 2
    tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer")
    model = build(MODELS, cfg.model, "model", tokenizer=tokenizer)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    found = Inferencer(model, tokenizer).explain(image, TEXT, "triangle")
    assert found.layer == 0
    assert found.heat.max() == 1


def test_in_the_last_layer_grad_cam_is_that_of_the_summary_token(inferencer, image):
    model, processor = inferencer.model, inferencer.processor
    expected, _ = cross_attention_map(model, processor.images([image]), *processor.captions([TEXT]), [0], 0)
    found = inferencer.explain(image, TEXT).heat
    np.testing.assert_allclose(found.flatten(), expected / expected.max(), atol=1e-6)
    with pytest.raises(ValueError, match="Grad-CAM of a word has no gradient in layer 0, the last"):
        inferencer.explain(image, TEXT, "triangle")


def test_what_cannot_be_explained_is_told(inferencer, image):
    with pytest.raises(ValueError, match=r"layer is 1, but the fusion encoder has layers 0 to 0"):
        inferencer.explain(image, TEXT, layer=1)
    with pytest.raises(ValueError, match=r"method is 'gradcamm'.*'gradcam'"):
        inferencer.explain(image, TEXT, method="gradcamm")
    with pytest.raises(ValueError, match="does not hold 'square'"):
        inferencer.explain(image, TEXT, "square")
