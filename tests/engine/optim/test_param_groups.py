"""Parameter groups: who decays and who learns faster, by the published rules."""

import json

import pytest
import torch
from torch import nn

from tests.engine.tiny_parts import TinyModel
from x2vlm.building import ConfigError
from x2vlm.engine.optim.param_groups import (
    X2VLMOptimConstructor,
    decays_by_name,
    fused_option,
    group_names,
    learning_rates,
    tower_of_parameter,
)
from x2vlm.weights.published_names import our_name

LEFT_ALONE = [
    "vision_encoder.net.blocks.0.norm1.weight",
    "vision_encoder.net.blocks.0.norm2.bias",
    "vision_encoder.net.norm.weight",
    "vision_encoder.net.blocks.0.attn.relative_position_bias_table",
    "vision_encoder.net.blocks.0.attn.q_bias",
    "vision_encoder.net.blocks.0.attn.v_bias",
    "vision_encoder.net.fc_norm.weight",
    "vision_proj.bias",
    "text_encoder.net.embeddings.LayerNorm.weight",
    "fusion_encoder.layer.0.crossattention.output.LayerNorm.bias",
    "objectives.mlm.LayerNorm.weight",
    "objectives.itm.head.1.bias",
]
DECAYED = [
    "vision_encoder.net.blocks.0.gamma_1",
    "vision_encoder.net.cls_token",
    "temperature",
    "frame_positions",
    "objectives.itm.head.1.weight",
    "objectives.bbox.head.1.weight",
    "vision_proj.weight",
    "vision_encoder.net.blocks.0.attn.qkv.weight",
    "text_encoder.net.embeddings.word_embeddings.weight",
]


def test_biases_and_norms_do_not_decay():
    assert not [name for name in LEFT_ALONE if decays_by_name(name)]


def test_what_the_published_rule_misses_by_its_name_does_decay():
    assert [name for name in DECAYED if not decays_by_name(name)] == []


def test_our_names_of_all_published_parameters_decay_as_the_published_ones_do(shared):
    published = json.loads((shared / "golden" / "state_dict_names.json").read_text())["full_size"]
    names = [name for name, _ in published["XVLM_base_4m_pretraining"] if our_name(name, text_layers=12)]
    no_decay = ("bias", "LayerNorm.bias", "LayerNorm.weight", "norm.bias", "norm.weight", "norm1", "norm2")
    assert len(names) > 500
    for name in names:
        assert decays_by_name(our_name(name, text_layers=12)) == (not any(part in name for part in no_decay)), name


def test_fresh_parameters_learn_faster():
    names = ["vision_encoder.w", "vision_encoder.bias", "vision_proj.weight", "vision_proj.bias"]
    assert group_names(names, {"vision_proj.weight", "vision_proj.bias"}, learning_rates(1e-4, lr_mult=2)) == {
        "base/decay": ["vision_encoder.w"],
        "base/no_decay": ["vision_encoder.bias"],
        "fresh/decay": ["vision_proj.weight"],
        "fresh/no_decay": ["vision_proj.bias"],
    }


def test_a_tower_with_its_own_rate_is_not_sped_up():
    rates = learning_rates(4e-5, lr_mult=2, vision_lr=2e-5, text_lr=8e-5)
    names = [
        "vision_encoder.a",
        "text_encoder.a",
        "fusion_encoder.a",
        "text_proj.weight",
        "objectives.mlm.dense.weight",
    ]
    groups = group_names(names, set(names), rates)
    assert groups == {
        "vision/decay": ["vision_encoder.a"],
        "text/decay": ["text_encoder.a", "objectives.mlm.dense.weight"],
        "cross/decay": ["fusion_encoder.a"],
        "fresh/decay": ["text_proj.weight"],
    }
    assert rates == {"base": 4e-5, "fresh": 8e-5, "vision": 2e-5, "text": 8e-5, "cross": 8e-5}


def test_only_a_whole_prefix_makes_a_tower():
    assert [tower_of_parameter(name) for name in ("vision_encoder.x", "vision_proj.x", "text_proj.x")] == [
        "vision",
        None,
        None,
    ]


def constructor(paramwise=None, **optimizer) -> X2VLMOptimConstructor:
    return X2VLMOptimConstructor(
        dict(optimizer=dict(type="AdamW", lr=0.1, weight_decay=0.01) | optimizer), paramwise_cfg=paramwise
    )


def test_the_optimizer_gets_these_groups():
    wrapper = constructor(dict(lr_mult=3.0))(TinyModel())
    groups = {group["name"]: (group["lr"], group["weight_decay"]) for group in wrapper.optimizer.param_groups}
    assert groups == {
        "base/decay": (0.1, 0.01),
        "base/no_decay": (0.1, 0.0),
        "fresh/decay": (pytest.approx(0.3), 0.01),
        "fresh/no_decay": (pytest.approx(0.3), 0.0),
    }
    assert wrapper.get_lr() == {"lr": [0.1], "fresh_lr": [pytest.approx(0.3)]}


def test_frozen_parameters_are_left_out():
    model = TinyModel()
    model.unused.requires_grad_(False)
    ids = {id(p) for group in constructor()(model).optimizer.param_groups for p in group["params"]}
    assert ids == {id(p) for p in model.parameters() if p.requires_grad}


def test_a_model_that_knows_of_nothing_fresh_has_one_rate():
    assert [group["lr"] for group in constructor(dict(lr_mult=2))(nn.Linear(2, 2)).optimizer.param_groups] == [0.1, 0.1]


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (dict(vision_lr=1e-5), r"optim_wrapper\.paramwise_cfg: vision_lr and text_lr belong together"),
        (dict(lr_mul=2), r"optim_wrapper\.paramwise_cfg: .*'lr_mul'.*Did you mean 'lr_mult'"),
        (dict(lr=2), r"optim_wrapper\.paramwise_cfg: 'lr' belongs into optim_wrapper.optimizer"),
    ],
)
def test_a_mistake_in_the_rates_is_refused_with_its_config_path(paramwise, message):
    with pytest.raises(ConfigError, match=message):
        constructor(paramwise)(TinyModel())


def test_an_optimizer_without_learning_rate_is_refused():
    with pytest.raises(ConfigError, match=r"optim_wrapper\.optimizer: the optimizer needs a learning rate"):
        X2VLMOptimConstructor(dict(optimizer=dict(type="AdamW")))


@pytest.mark.parametrize("kind", ["Adam", "AdamW", torch.optim.AdamW])
def test_torchs_adam_is_fused_on_gpus_unless_the_config_says_how(kind):
    cfg = dict(type=kind, lr=0.1)
    assert fused_option(cfg, {"cuda"}, sharded=False) == dict(fused=True)
    for option in (dict(fused=False), dict(foreach=True), dict(capturable=True)):
        assert fused_option(cfg | option, {"cuda"}, sharded=False) == {}
    assert fused_option(cfg, {"cuda", "cpu"}, sharded=False) == fused_option(cfg, {"cpu"}, sharded=False) == {}
    assert fused_option(cfg, {"cuda"}, sharded=True) == {}


@pytest.mark.parametrize("kind", ["SGD", "PublishedAdamW"])
def test_other_optimizers_are_left_as_they_are(kind):
    assert fused_option(dict(type=kind, lr=0.1), {"cuda"}, sharded=False) == {}


def test_the_word_head_learns_at_the_rate_of_the_text_encoder():
    rates = learning_rates(1e-5, vision_lr=2e-5, text_lr=8e-5)
    names = ["objectives.mlm.dense.weight", "objectives.caption.bias", "objectives.itm.head.0.weight"]
    assert group_names(names, set(), rates) == {
        "text/decay": ["objectives.mlm.dense.weight"],
        "text/no_decay": ["objectives.caption.bias"],
        "base/decay": ["objectives.itm.head.0.weight"],
    }
