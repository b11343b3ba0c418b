"""A training run with what its hooks saw."""

import json
from pathlib import Path

from mmengine.hooks import Hook

from x2vlm.engine import build_runner


class Recorder(Hook):
    """Keeps what each step gave."""

    def __init__(self):
        self.steps, self.events = [], []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.steps.append((data_batch, outputs))
        self.events.append("step")

    def after_val_epoch(self, runner, metrics=None):
        self.events.append("val")


def trained(cfg):
    runner = build_runner(cfg)
    recorder = Recorder()
    runner.register_hook(recorder)
    runner.train()
    return runner, recorder


def json_lines(cfg, name):
    return [json.loads(line) for line in Path(cfg["work_dir"], name).read_text().splitlines()]
