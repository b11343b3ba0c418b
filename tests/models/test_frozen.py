"""Parts that are not trained stay as they are, whatever the mode and the optimizer."""

import pytest
import torch
from torch import nn

from x2vlm.building import ConfigError
from x2vlm.models.frozen import freeze


class Probe(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision_encoder = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
        self.head = nn.Linear(2, 1)


def test_a_frozen_part_gets_no_gradient_and_the_rest_does():
    model = Probe()
    assert freeze(model, ("vision_encoder",)) == [model.vision_encoder]
    model.head(model.vision_encoder(torch.ones(3, 2))).sum().backward()
    assert model.vision_encoder[0].weight.grad is None
    assert model.head.weight.grad is not None


def test_an_unknown_part_is_named_with_the_closest_one():
    with pytest.raises(ConfigError, match=r"model\.frozen: 'vision_encodr' is no part of the model\..*vision_encoder"):
        freeze(Probe(), ("vision_encodr",))


def test_a_model_of_which_nothing_is_left_to_train_is_refused():
    with pytest.raises(ConfigError, match="nothing is left to train"):
        freeze(Probe(), ("vision_encoder", "head"))


def test_frozen_towers_stay_in_evaluation_mode_and_out_of_the_optimizer():
    from x2vlm.building import build
    from x2vlm.engine.optim.param_groups import X2VLMOptimConstructor
    from x2vlm.registry import MODELS

    config = dict(
        type="X2VLM",
        vision_encoder=dict(type="BEiT2", image_size=32, patch_size=16, width=16, depth=1, num_heads=2),
        text_encoder=None,
        fusion_encoder=None,
        embed_dim=None,
        objectives=dict(classification=dict(type="Classification", num_classes=3, reads="context", head="linear")),
        frozen=("vision_encoder",),
    )
    model = build(MODELS, config, "model").train()
    assert (model.training, model.vision_encoder.training) == (True, False)
    groups = X2VLMOptimConstructor(dict(optimizer=dict(type="AdamW", lr=1.0)))(model).optimizer.param_groups
    assert sum(len(group["params"]) for group in groups) == 2
