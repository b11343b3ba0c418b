"""Classes of images, of sentences, and of sentences about two images."""

import numpy as np
import pytest
import torch

from x2vlm.building import build
from x2vlm.data.batch import Batch
from x2vlm.inference import Inferencer
from x2vlm.inference.preprocessing import Preprocessing

NAMES = ["no", "maybe", "yes"]


def images(count):
    return [np.random.default_rng(n).integers(0, 256, (20, 30, 3), dtype=np.uint8) for n in range(count)]


def inferencer(cfg, **objective):
    from x2vlm.registry import MODELS, TOKENIZERS

    cfg.model.objectives = dict(classification=dict(type="Classification", num_classes=3, **objective))
    torch.manual_seed(0)
    model = build(MODELS, cfg.model, "model", tokenizer=build(TOKENIZERS, cfg.tokenizer, "tokenizer"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return Inferencer(model, preprocessing=Preprocessing((16, 16), classes=tuple(NAMES)))


def test_an_image_is_classified_by_what_the_model_sees(cfg):
    asked = inferencer(cfg, reads="context")
    both = images(2)
    with torch.no_grad():
        batch = Batch(None, None, pixels=asked.processor.images(both), owner=torch.arange(2))
        objective = asked.model.objectives["classification"]
        expected = objective.logits(asked.model.encode(batch, objective.needs), []).softmax(dim=-1)
    found = asked.classify(both)
    assert [one.index for one in found] == expected.argmax(dim=-1).tolist()
    assert found[0].probability == pytest.approx(float(expected[0].max()), abs=1e-5)
    assert found[0].name == NAMES[found[0].index]
    assert found[0].probability + sum(p for _, p in found[0].others) == pytest.approx(1)
    assert asked.classify(both[1]).probability == pytest.approx(found[1].probability, abs=1e-5)


def test_two_images_of_a_sentence_stand_in_order(cfg):
    asked = inferencer(cfg, contexts=2)
    first, second = images(2)
    text = "a red circle left of a blue square"
    found = asked.classify([(first, second), (second, first)], [text, text])
    assert found[0].probability != pytest.approx(found[1].probability, abs=1e-6)
    assert asked.classify((second, first), text).probability == pytest.approx(found[1].probability, abs=1e-5)
    with pytest.raises(ValueError, match="reads 2 images together, as a tuple; given 1"):
        asked.classify(first, text)


def test_sentences_and_pairs_of_them_are_classified_alone(cfg):
    asked = inferencer(cfg, reads="text")
    found = asked.classify(texts=["a red circle", ("a red circle", "a blue square")])
    assert found[0] != found[1]
    assert asked.classify(texts="a red circle").probability == pytest.approx(found[0].probability, abs=1e-5)


def test_what_does_not_fit_the_model_is_told(cfg):
    asked = inferencer(cfg, reads="text")
    with pytest.raises(ValueError, match="classifies a text alone: leave images out"):
        asked.classify(images(1), ["a red circle"])
    with pytest.raises(ValueError, match="2 names of classes were given, but the model has 3"):
        asked.classify(texts="a red circle", classes=["no", "yes"])
    with pytest.raises(ValueError, match="classifies a text with its image: give texts"):
        inferencer(cfg).classify(images(1))
    with pytest.raises(ValueError, match="2 images but 1 texts"):
        inferencer(cfg).classify(images(2), ["a red circle"])
