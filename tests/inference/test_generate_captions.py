"""A caption of an image: the one that the evaluation would give it."""

import numpy as np
import pytest
import torch

from x2vlm.building import build
from x2vlm.data.collate.pair_collate import PairCollate
from x2vlm.evaluation.tasks.captioning import CaptioningMetric
from x2vlm.inference import Inferencer
from x2vlm.registry import DATASETS, MODELS, TOKENIZERS


@pytest.fixture
def inferencer(cfg, seed, tmp_path):
    cfg.model.objectives["caption"] = dict(type="CaptionGeneration")
    steps = [dict(type="LoadImage"), dict(type="AllCaptions", clean=False), dict(type="Resize", size=16)]
    dataset = dict(type="ToyWorld", num_scenes=3, split="test", pipeline=[*steps, dict(type="PackSample")])
    cfg.evaluations = dict(captioning=dict(dataset=dataset, collate=dict(type="PairCollate", masking=None)))
    cfg.evaluations.captioning.update(batch_size=2, metric=dict(type="CaptioningMetric"))
    model = build(MODELS, cfg.model, "model", tokenizer=build(TOKENIZERS, cfg.tokenizer, "tokenizer"))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    torch.save({"state_dict": model.state_dict()}, tmp_path / "iter_1.pth")
    return Inferencer.from_checkpoint(cfg, tmp_path / "iter_1.pth")


def test_the_caption_is_the_one_of_the_evaluation(cfg, inferencer, tmp_path):
    import json

    dataset = build(DATASETS, cfg.evaluations.captioning.dataset)
    metric = CaptioningMetric(inferencer.processor.tokenizer, save_to=tmp_path / "all.json")
    metric.evaluate(
        inferencer.model, [PairCollate(inferencer.processor.tokenizer, masking=None)([dataset[i] for i in range(3)])]
    )
    saved = json.loads((tmp_path / "all.json").read_text())
    for i, one in enumerate(saved):
        caption = inferencer.caption(dataset.record(i)["image"])
        assert caption.text == one["caption"]
        assert caption.score == pytest.approx(one["score"], abs=1e-3)
    assert len({one["caption"] for one in saved}) > 1


def test_a_caption_is_sampled_on_request_and_keeps_to_its_length(inferencer):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    sampling = dict(type="Sampling", min_length=2, max_length=6, seed=1)
    assert inferencer.caption(image, sampling) == inferencer.caption(image, sampling)
    assert inferencer.caption(image, sampling) != inferencer.caption(image, sampling | {"seed": 2})
    assert len(inferencer.caption(image, dict(max_length=6)).text.split()) <= 6


def test_a_model_without_captions_is_told_apart(inferencer):
    del inferencer.model.objectives["caption"]
    with pytest.raises(ValueError, match="cannot caption"):
        inferencer.caption(np.zeros((8, 8, 3), dtype=np.uint8))
