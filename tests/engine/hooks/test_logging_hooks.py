"""What is logged beside the steps, and stopping in good order."""

import json
import time
from pathlib import Path

import pytest
from mmengine.hooks import Hook

from x2vlm.engine import build_runner


class Losses(Hook):
    def __init__(self):
        self.values = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.values.append(outputs["image.loss_a"].item())


def scalars(runner) -> list[dict]:
    lines = Path(runner.work_dir, runner.timestamp, "vis_data", "scalars.json").read_text().splitlines()
    return [line for line in map(json.loads, lines) if "loss" in line]


def test_the_log_holds_the_mean_since_its_last_line_and_the_last_iterations_too(config):
    cfg = config(5)
    cfg["default_hooks"]["logger"] = dict(type="LoggerHook", interval=2, ignore_last=False)
    runner = build_runner(cfg)
    losses = Losses()
    runner.register_hook(losses)
    runner.train()
    logged = [line["image.loss_a"] for line in scalars(runner)]
    a, b, c, d, e = losses.values
    # the last iteration has no full interval, so MMEngine writes no line for it unless the run is short
    assert logged == pytest.approx([(a + b) / 2, (c + d) / 2, e][: len(logged)])
    assert len(logged) >= 2


def test_the_log_names_stream_and_objective_and_gives_throughput_and_times(config, train):
    line = scalars(train(config(4)))[-1]
    assert {"image.loss_a", "image.loss_b", "text.loss_a", "loss", "lr", "grad_norm", "time", "step"} <= line.keys()
    assert line["pairs_per_second"] > 0


def test_validation_does_not_count_as_time_of_a_step(config):
    class Slow(Hook):
        priority = "LOWEST"

        def before_val(self, runner):
            time.sleep(0.3)

    cfg = config(4, train_cfg=dict(type="MixedTrainLoop", max_iters=4, val_interval=1))
    runner = build_runner(cfg)
    runner.register_hook(Slow())
    runner.train()
    assert max(runner.message_hub.get_scalar("train/time").data[0]) < 0.25


def test_losses_are_not_read_from_the_device_in_every_step(config, train):
    runner = train(config(6))
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 3  # interval 2
    assert len(runner.message_hub.get_scalar("train/time").data[0]) == 6
