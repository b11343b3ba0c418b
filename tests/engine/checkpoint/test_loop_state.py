"""Checkpoints: plain, whole, exact to go on from, and never overwritten by another run."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import HistoryBuffer

from x2vlm.building import ConfigError
from x2vlm.commands.soak import differences
from x2vlm.engine import build_runner, latest_checkpoint
from x2vlm.engine.checkpoint.loop_state import from_plain, to_plain

EMA = dict(type="EMAHook", ema_type="ExponentialMovingAverage", momentum=0.1)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path)["state_dict"]


def assert_same(ours: dict, theirs: dict) -> None:
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


def saving(config: dict, interval: int, **changes) -> dict:
    config["default_hooks"]["checkpoint"] = dict(type="CheckpointHook", interval=interval, **changes)
    return config


def with_workers(config: dict, workers: int) -> dict:
    for stream in config["streams"].values():
        stream["num_workers"] = workers
    return config


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_seven_steps_and_thirteen_more_are_twenty_to_the_bit(config, train, tmp_path, workers):
    whole = with_workers(saving(config(20, work_dir=tmp_path / "whole"), 7), workers)
    train(whole)
    parts = with_workers(saving(config(20, work_dir=tmp_path / "parts"), 7), workers)
    (tmp_path / "parts").mkdir()
    os.link(tmp_path / "whole" / "iter_7.pth", tmp_path / "parts" / "iter_7.pth")  # all that is left of a run that died
    runner = train(parts | dict(resume=True))
    assert runner.iter == 20
    assert_same(weights(tmp_path / "whole" / "iter_20.pth"), weights(tmp_path / "parts" / "iter_20.pth"))
    ours, theirs = (torch.load(tmp_path / name / "iter_20.pth") for name in ("parts", "whole"))
    assert ours["x2vlm_loop"] == theirs["x2vlm_loop"]
    for mine, other in zip(ours["optimizer"]["state"].values(), theirs["optimizer"]["state"].values(), strict=True):
        assert torch.equal(mine["exp_avg"], other["exp_avg"])


def test_another_seed_is_another_run(config, train, tmp_path):
    train(config(work_dir=tmp_path / "a"))
    train(config(work_dir=tmp_path / "b", randomness=dict(seed=2)))
    a, b = weights(tmp_path / "a" / "iter_4.pth"), weights(tmp_path / "b" / "iter_4.pth")
    assert not torch.equal(a["vision_proj.weight"], b["vision_proj.weight"])


def test_a_run_without_a_seed_goes_on_with_the_one_it_drew(config, train, tmp_path):
    free = dict(randomness=dict(seed=None))
    train(saving(config(6, work_dir=tmp_path / "whole", **free), 3))
    (tmp_path / "parts").mkdir()
    os.link(tmp_path / "whole" / "iter_3.pth", tmp_path / "parts" / "iter_3.pth")
    train(saving(config(6, work_dir=tmp_path / "parts", resume=True, **free), 3))
    assert_same(weights(tmp_path / "whole" / "iter_6.pth"), weights(tmp_path / "parts" / "iter_6.pth"))


def test_a_checkpoint_holds_nothing_that_could_run_code(config, train, tmp_path):
    train(config(custom_hooks=[EMA]))
    path = tmp_path / "work" / "iter_4.pth"
    assert torch.serialization.get_unsafe_globals_in_checkpoint(path) == []
    assert {"state_dict", "optimizer", "message_hub", "x2vlm_loop", "ema_state_dict"} <= torch.load(path).keys()


def test_the_history_of_the_log_survives_being_plain():
    history = HistoryBuffer([1.0, 2.0], [1, 3], max_length=50)
    back = from_plain(to_plain({"log_scalars": {"train/loss": history}, "best": np.float64(0.5), "names": ["a"]}))
    again = back["log_scalars"]["train/loss"]
    assert [array.tolist() for array in again.data] == [array.tolist() for array in history.data]
    assert again.max_length == 50
    assert (type(back["best"]), back["names"]) == (float, ["a"])


def test_a_resumed_log_goes_on_where_it_was(config, train, tmp_path):
    train(saving(config(8), 4))
    (tmp_path / "parts").mkdir()
    os.link(tmp_path / "work" / "iter_4.pth", tmp_path / "parts" / "iter_4.pth")
    runner = train(config(8, work_dir=tmp_path / "parts", resume=True))
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 4  # every second iteration, the first two loaded


def test_a_longer_run_goes_on_along_its_own_schedule(config, train, tmp_path):
    train(config(10))
    rates = []

    class Watch(Hook):
        def before_train_iter(self, runner, batch_idx, data_batch=None):
            rates.append(runner.optim_wrapper.get_lr()["lr"][0])

    runner = build_runner(config(20, resume=True))
    runner.register_hook(Watch())
    runner.train()
    assert rates == pytest.approx([0.01 * (20 - step) / 18 for step in range(10, 20)])


def test_the_average_of_the_weights_is_evaluated_and_saved(config, train, tmp_path):
    runner = train(config(custom_hooks=[EMA]))
    saved = torch.load(tmp_path / "work" / "iter_4.pth")
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model.module
    assert torch.equal(saved["state_dict"]["vision_proj.weight"], average.vision_proj.weight)
    assert torch.equal(saved["ema_state_dict"]["module.vision_proj.weight"], runner.model.vision_proj.weight)
    assert not torch.equal(average.vision_proj.weight, runner.model.vision_proj.weight)


def test_the_average_of_the_weights_is_resumed_to_the_bit(config, train, tmp_path):
    train(saving(config(8, work_dir=tmp_path / "whole", custom_hooks=[EMA]), 4))
    (tmp_path / "parts").mkdir()
    os.link(tmp_path / "whole" / "iter_4.pth", tmp_path / "parts" / "iter_4.pth")
    train(saving(config(8, work_dir=tmp_path / "parts", custom_hooks=[EMA], resume=True), 4))
    ours, theirs = (torch.load(tmp_path / name / "iter_8.pth") for name in ("parts", "whole"))
    assert_same(ours["ema_state_dict"], theirs["ema_state_dict"])
    assert_same(ours["state_dict"], theirs["state_dict"])


def test_scaler_schedules_log_and_average_are_resumed_to_the_bit(config, train, tmp_path):
    def half(folder: str, **changes) -> dict:
        cfg = saving(config(8, work_dir=tmp_path / folder, custom_hooks=[EMA], **changes), 4)
        cfg["optim_wrapper"]["precision"] = "fp16"
        return cfg

    train(half("whole"))
    (tmp_path / "parts").mkdir()
    os.link(tmp_path / "whole" / "iter_4.pth", tmp_path / "parts" / "iter_4.pth")
    train(half("parts", resume=True))
    ours, theirs = (torch.load(tmp_path / name / "iter_8.pth") for name in ("parts", "whole"))
    assert ours["optimizer"]["loss_scaler"] == theirs["optimizer"]["loss_scaler"]
    compared = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "x2vlm_loop")
    assert list(differences({key: ours[key] for key in compared}, {key: theirs[key] for key in compared})) == []
    logs = [one["message_hub"]["log_scalars"] for one in (ours, theirs)]
    lossy = [{key: log for key, log in one.items() if "time" not in key and "second" not in key} for one in logs]
    assert "train/loss" in lossy[0]
    assert list(differences(*lossy)) == []


def test_a_run_that_dies_while_it_writes_leaves_the_last_checkpoint_intact(config, train, tmp_path, monkeypatch):
    train(config(4))
    before = (tmp_path / "work" / "iter_4.pth").read_bytes()

    def torn(path, content):
        path.write_bytes(b"half of it")
        raise KeyboardInterrupt

    monkeypatch.setattr("x2vlm.engine.checkpoint.atomic_save.write_file", torn)
    with pytest.raises(KeyboardInterrupt):
        train(config(5, resume=True))
    assert (tmp_path / "work" / "iter_4.pth").read_bytes() == before
    assert latest_checkpoint(tmp_path / "work") == tmp_path / "work" / "iter_4.pth"


def test_checkpoints_inside_an_accumulation_are_refused(config):
    cfg = saving(config(8), 3)
    cfg["optim_wrapper"]["accumulative_counts"] = 2
    with pytest.raises(ConfigError, match=r"default_hooks\.checkpoint\.interval: .*Make it a multiple of 2"):
        build_runner(cfg)


def test_the_config_of_an_earlier_run_is_kept(config, train, tmp_path):
    runner = build_runner(Config(config(2), cfg_text="# mine", filename="mine.py"))
    runner.cfg.train_cfg.max_iters = 7
    runner.dump_config()
    runner.dump_config()
    kept = sorted(path.name for path in (tmp_path / "work").glob("mine*.py"))
    assert kept == ["mine.py", f"mine_{runner.timestamp}.py"]
    assert "max_iters=2" in (tmp_path / "work" / "mine.py").read_text()


def test_a_new_stream_begins_and_the_others_go_on(config, train, tmp_path):
    train(config(4))
    cfg = config(6, resume=True)
    cfg["streams"]["video"] = dict(cfg["streams"]["image"])
    runner = train(cfg)
    assert runner.train_loop.state_dict()["draws"] == {"video": 4, "image": 12, "text": 18}
