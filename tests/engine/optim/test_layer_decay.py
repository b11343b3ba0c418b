"""The lower a layer of a tower, the less it learns; everything above the towers learns at the full rate."""

import pytest
from torch import nn

import x2vlm
from tests.engine.optim.test_param_groups import constructor
from x2vlm.building import ConfigError
from x2vlm.engine.optim.layer_decay import layer_numbers


@pytest.fixture(scope="module")
def model():
    return x2vlm.create_model("demo/toy_pretrain")  # three vision layers, one text layer


def rates(model, **paramwise):
    """The learning rate of each parameter."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = constructor(paramwise)(model).optimizer.param_groups
    return {names[parameter]: group["lr"] for group in groups for parameter in group["params"]}


def test_each_layer_learns_a_factor_less_than_the_one_above(model):
    plain, decayed = rates(model), rates(model, vision_layer_decay=0.5)
    factors = {name: decayed[name] / plain[name] for name in plain}
    expected = {"patch_embed": 1 / 16, "blocks.0": 1 / 8, "blocks.1": 1 / 4, "blocks.2": 1 / 2, "norm": 1}
    for part, factor in expected.items():
        own = [name for name in factors if name.startswith(f"vision_encoder.net.{part}.")]
        assert own
        assert {round(factors[name], 6) for name in own} == {factor}, part
    assert {round(factor, 6) for name, factor in factors.items() if not name.startswith("vision_encoder.")} == {1}


def test_towers_decay_each_by_itself_on_top_of_their_own_rates(model):
    found = rates(model, vision_lr=1.0, text_lr=2.0, vision_layer_decay=0.9, text_layer_decay=0.5)
    assert found["text_encoder.net.embeddings.word_embeddings.weight"] == pytest.approx(2.0 * 0.25)
    assert found["vision_encoder.net.blocks.2.mlp.fc1.weight"] == pytest.approx(0.9)
    assert {rate for name, rate in found.items() if name.startswith("fusion_encoder.")} == {2.0}


def test_weight_decay_stays_as_it_was_and_the_log_shows_the_highest_rate(model):
    wrapper = constructor(dict(vision_layer_decay=0.5))(model)
    for group in wrapper.optimizer.param_groups:
        assert (group["weight_decay"] == 0) == (group["name"].split("/")[1] == "no_decay")
    assert wrapper.get_lr()["lr"] == [0.1]
    assert constructor(dict(vision_lr=1.0, text_lr=2.0, vision_layer_decay=0.5))(model).get_lr()["vision_lr"] == [1.0]


def test_what_lies_between_layers_learns_like_the_layer_below():
    def layer():
        return nn.Sequential(nn.Linear(2, 2))

    class Staged(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Linear(2, 2)
            self.first = nn.ModuleList([layer(), layer()])
            self.merge = nn.Linear(2, 2)
            self.second = nn.ModuleList([layer()])
            self.norm = nn.LayerNorm(2)

    numbers, last = layer_numbers(Staged())
    by_part = {name.rpartition(".")[0]: number for name, number in numbers.items()}
    assert by_part == {"stem": 0, "first.0.0": 1, "first.1.0": 2, "merge": 2, "second.0.0": 3, "norm": 4}
    assert last == 4


@pytest.mark.parametrize(
    ("paramwise", "message"),
    [
        (dict(vision_layer_decay=1.5), "a layer decay is 1.5; expected more than 0 and at most 1"),
        (dict(vision_layer_decy=0.5), "'vision_layer_decy'.*Did you mean 'vision_layer_decay'"),
    ],
)
def test_a_decay_that_has_no_meaning_is_refused_with_its_config_path(model, paramwise, message):
    with pytest.raises(ConfigError, match=rf"optim_wrapper\.paramwise_cfg: .*{message}"):
        rates(model, **paramwise)


def test_a_model_without_the_tower_is_told():
    with pytest.raises(ConfigError, match="text_layer_decay is given, but the model has no text_encoder"):
        rates(nn.Linear(2, 2), text_layer_decay=0.5)
    with pytest.raises(ValueError, match="Linear has no layers to tell apart"):
        layer_numbers(nn.Linear(2, 2))
