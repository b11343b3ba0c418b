"""A run goes on where it stopped although its config lists objectives, streams and parts in another order."""

import copy
import os
import shutil

import pytest
import torch
from mmengine.config import Config
from torch import nn

from tests.engine.distributed.sharded_parts import EMA, by_name, everything, reordered
from tests.engine.tiny_parts import tiny_config
from x2vlm.building import ConfigError
from x2vlm.commands.soak import differences
from x2vlm.config import load_config
from x2vlm.config_to_python import config_text
from x2vlm.engine import build_runner
from x2vlm.engine.optim.optimizer_state import in_own_order, with_names
from x2vlm.weights.read_weights import CheckpointError


def two_layers(first: str, second: str) -> nn.Module:
    """Two layers of one shape, registered in this order."""
    return nn.ModuleDict({first: nn.Linear(3, 3), second: nn.Linear(3, 3)})


def stepped(model: nn.Module, groups: list | None = None) -> torch.optim.AdamW:
    optimizer = torch.optim.AdamW(groups or model.parameters(), lr=0.1)
    for number, (_, parameter) in enumerate(sorted(model.named_parameters())):
        parameter.grad = torch.full_like(parameter, number + 1.0)
    optimizer.step()
    return optimizer


def checkpoint(model: nn.Module, optimizer: torch.optim.Optimizer, **more) -> dict:
    state = with_names(optimizer.state_dict(), model, optimizer)
    return {"state_dict": model.state_dict(), "optimizer": copy.deepcopy(state), **more}


def moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {name: optimizer.state[parameter]["exp_avg"] for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("named", [True, False], ids=["with names", "as older versions wrote it"])
def test_states_go_to_the_parameters_of_their_names(named):
    old = two_layers("a", "b")
    content = checkpoint(old, optimizer := stepped(old))
    if not named:
        content["optimizer"] = optimizer.state_dict()
    new = two_layers("b", "a")
    other = torch.optim.AdamW(new.parameters(), lr=0.1)
    other.load_state_dict(in_own_order(content, new, other, "x.pth")["optimizer"])
    assert moments(new, other).keys() == moments(old, optimizer).keys()
    assert not list(differences(moments(new, other), moments(old, optimizer)))


def grouped(model: nn.Module, *groups: tuple[str, str, float]) -> list[dict]:
    members = dict(model.named_parameters())
    ending = {end: [p for key, p in members.items() if key.endswith(end)] for _, end, _ in groups}
    return [dict(name=name, lr=lr, params=ending[end]) for name, end, lr in groups]


@pytest.mark.parametrize("named", [True, False], ids=["with names", "as older versions wrote it"])
def test_groups_and_what_schedulers_keep_for_each_are_matched_too(named):
    old = two_layers("a", "b")
    optimizer = stepped(old, grouped(old, ("weights", "weight", 0.1), ("biases", "bias", 0.2)))
    content = checkpoint(old, optimizer, param_schedulers=[{"base_values": [0.1, 0.2], "last_step": 3}])
    if not named:
        content["optimizer"] = optimizer.state_dict()
    new = two_layers("b", "a")
    other = torch.optim.AdamW(grouped(new, ("biases", "bias", 0.5), ("weights", "weight", 0.5)))
    content = in_own_order(content, new, other, "x.pth")
    other.load_state_dict(content["optimizer"])
    assert [(group["name"], group["lr"]) for group in other.param_groups] == [("biases", 0.2), ("weights", 0.1)]
    assert content["param_schedulers"] == [{"base_values": [0.2, 0.1], "last_step": 3}]
    assert not list(differences(moments(new, other), moments(old, optimizer)))


def test_a_parameter_with_two_names_keeps_its_state_whichever_comes_first():
    def tied(first: str, second: str) -> nn.Module:
        model = two_layers(first, second)
        model["b"].weight = model["a"].weight
        return model

    old, new = tied("a", "b"), tied("b", "a")
    content, other = checkpoint(old, optimizer := stepped(old)), torch.optim.AdamW(new.parameters())
    other.load_state_dict(in_own_order(content, new, other, "x.pth")["optimizer"])
    assert torch.equal(other.state[new["a"].weight]["exp_avg"], optimizer.state[old["a"].weight]["exp_avg"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.a.weight.requires_grad_(False), r"it trained a\.weight, which this config does not train"),
        (lambda model: model.add_module("c", nn.Linear(1, 1)), r"it has no state for c\.weight, c\.bias\."),
    ],
)
def test_parameters_that_only_one_of_them_has_are_refused_by_name(change, message):
    old, new = two_layers("a", "b"), nn.Module()
    content = checkpoint(old, stepped(old))
    for name, layer in two_layers("a", "b").items():
        new.add_module(name, layer)
    change(new)
    other = torch.optim.AdamW([parameter for parameter in new.parameters() if parameter.requires_grad])
    with pytest.raises(CheckpointError, match=rf"optimizer of x\.pth does not fit.*\n  {message}"):
        in_own_order(content, new, other, "x.pth")


def test_other_groups_are_refused_by_the_names_that_moved():
    old, new = two_layers("a", "b"), two_layers("a", "b")
    content = checkpoint(old, stepped(old, grouped(old, ("all", "", 0.1))))
    other = torch.optim.AdamW(grouped(new, ("weights", "weight", 0.1), ("biases", "bias", 0.2)))
    with pytest.raises(CheckpointError, match=r"divided into other groups \(optim_wrapper\.paramwise_cfg\): a\."):
        in_own_order(content, new, other, "x.pth")


def test_a_nameless_state_of_another_number_of_parameters_is_refused():
    old, new = two_layers("a", "b"), two_layers("a", "b")
    optimizer = stepped(old)
    new["a"].bias.requires_grad_(False)
    other = torch.optim.AdamW([parameter for parameter in new.parameters() if parameter.requires_grad])
    content = {"state_dict": old.state_dict(), "optimizer": optimizer.state_dict()}
    with pytest.raises(CheckpointError, match=r"does not say which parameter .* trains 3 parameters where it has 4"):
        in_own_order(content, new, other, "x.pth")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A run of all streams and objectives, after two steps."""
    folder = tmp_path_factory.mktemp("stopped")
    build_runner(everything(folder / "work", 2)).train()
    return folder / "work" / "iter_2.pth"


@pytest.mark.slow
def test_a_run_whose_objectives_and_streams_changed_places_goes_on_with_its_own_states(stopped, tmp_path):
    (tmp_path / "work").mkdir()
    os.link(stopped, tmp_path / "work" / "iter_2.pth")
    runner = build_runner(reordered(everything(tmp_path / "work", 3, resume=True)))
    runner.call_hook("before_run")  # the average of the weights
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    runner.resume(str(stopped))
    before = torch.load(stopped)
    saved = with_names(runner.optim_wrapper.state_dict(), runner.model, runner.optim_wrapper.optimizer)
    assert list(runner.model.state_dict()) != list(before["state_dict"])
    assert len(by_name(before)) > 50
    assert not list(differences(by_name({"optimizer": saved}), by_name(before)))


@pytest.mark.slow
def test_the_dump_of_a_run_goes_on_with_it_and_repeats_it_to_the_bit(tmp_path):
    build_runner(everything(tmp_path / "whole", 4)).train()
    dump = next((tmp_path / "whole").glob("*.py"))
    again = load_config(dump)
    assert list(again.model.objectives) == list(everything(tmp_path).model.objectives)
    again.work_dir = str(tmp_path / "again")
    build_runner(again).train()
    parts = load_config(dump, {"resume": True, "work_dir": str(tmp_path / "parts")})
    (tmp_path / "parts").mkdir()
    shutil.copy(tmp_path / "whole" / "iter_2.pth", tmp_path / "parts")
    build_runner(parts).train()
    wanted = torch.load(tmp_path / "whole" / "iter_4.pth")
    for folder in ("again", "parts"):
        found = torch.load(tmp_path / folder / "iter_4.pth")
        for key in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
            assert not list(differences(found[key], wanted[key])), (folder, key)


def test_a_config_is_written_in_its_own_order_and_is_the_same_when_read_again(tmp_path):
    cfg = Config(tiny_config(tmp_path) | dict(odd={"b": float("inf"), "a-b": (1,), "1": None, "e": {}, "f": []}))
    cfg.streams = dict(reversed(list(cfg.streams.items())))
    (tmp_path / "dump.py").write_text(config_text(cfg))
    again = Config.fromfile(tmp_path / "dump.py")
    assert again.to_dict() == cfg.to_dict()
    assert list(again.streams) == list(cfg.streams)
    assert list(again) == list(cfg)


def test_an_average_of_other_weights_is_refused_by_name(config, train, tmp_path):
    train(config(2, custom_hooks=[EMA]))
    path = tmp_path / "work" / "iter_2.pth"
    content = torch.load(path)
    content["ema_state_dict"]["module.gone"] = content["ema_state_dict"].pop("module.unused.bias")
    (tmp_path / "other").mkdir()
    torch.save(content, tmp_path / "other" / "iter_2.pth")
    with pytest.raises(
        CheckpointError, match=r"average of the weights.*lacks module\.unused\.bias; it has module\.gone"
    ):
        train(config(4, work_dir=tmp_path / "other", custom_hooks=[EMA], resume=True))


def test_a_run_with_an_average_does_not_go_on_without_it(config, train):
    train(config(2, custom_hooks=[EMA]))
    with pytest.raises(ConfigError, match=r"holds an average of the weights \(EMA\).*load_from"):
        train(config(4, resume=True))
