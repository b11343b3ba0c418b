"""Evaluations during training and alone."""

import pytest
import torch

from tests.engine.recorder import json_lines, trained
from x2vlm.building import ConfigError
from x2vlm.engine import build_runner


def test_evaluations_run_at_their_interval_and_at_the_end(config):
    _, recorder = trained(config(max_iters=5, train_cfg=dict(type="MixedTrainLoop", max_iters=5, val_interval=2)))
    assert recorder.events == ["step", "step", "val", "step", "step", "val", "step", "val"]


def test_without_an_interval_there_is_one_evaluation_at_the_end(config):
    _, recorder = trained(config(max_iters=3))
    assert recorder.events == ["step", "step", "step", "val"]


def test_an_evaluation_runs_in_evaluation_mode_and_training_continues_in_training_mode(config):
    cfg = config(max_iters=2, train_cfg=dict(type="MixedTrainLoop", max_iters=2, val_interval=1))
    runner, _ = trained(cfg)
    metrics = json_lines(cfg, "metrics.jsonl")
    assert [line["iter"] for line in metrics] == [1, 2]
    assert metrics[0]["metrics"]["held_out/eval_mode"] == 1.0
    assert metrics[0]["metrics"]["held_out/batches"] == 3
    # 2 streams, 3 batches of evaluation, 2 streams, 3 batches
    assert [training for _, training in runner.model.calls] == [True] * 2 + [False] * 3 + [True] * 2 + [False] * 3


def test_evaluating_does_not_change_what_training_does(config, tmp_path):
    often = dict(type="MixedTrainLoop", max_iters=4, val_interval=1)
    first, _ = trained(config(train_cfg=often, work_dir=tmp_path / "often"))
    second, _ = trained(config(work_dir=tmp_path / "seldom"))
    for ours, theirs in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_config_without_evaluations_trains_but_cannot_be_tested(config):
    cfg = config(2, evaluations={})
    _, recorder = trained(cfg)
    assert recorder.events == ["step", "step"]
    with pytest.raises(ConfigError, match="evaluations: there is nothing to test"):
        build_runner(cfg, mode="test")
