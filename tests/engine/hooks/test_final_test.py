"""A test set is read once, at the end of training, with the checkpoint that validation chose."""

import json
from pathlib import Path

import torch

from tests.engine.tiny_parts import TinyMetric
from x2vlm.registry import METRICS


@METRICS.register_module(force=True)
class TinyRising(TinyMetric):
    """Best after the second evaluation; remembers which weights it saw."""

    seen: list[torch.Tensor] = []

    def evaluate(self, model, loader):
        self.seen.append(model.text_encoder.weight.detach().clone())
        list(loader)
        return {"score": float(-abs(len(self.seen) - 2))}


def with_test_set(config, **changes):
    cfg = config(**changes)
    cfg["evaluations"]["held_out"]["metric"] = dict(type="TinyRising")
    cfg["evaluations"]["secret"] = dict(cfg["evaluations"]["held_out"], at_end=True)
    cfg["train_cfg"] |= dict(val_interval=1)
    cfg["custom_imports"] = dict(imports=["tests.engine.checkpoint.test_final_test"])
    TinyRising.seen.clear()
    return cfg


def lines_of(runner):
    return [json.loads(line) for line in (Path(runner.work_dir) / "metrics.jsonl").read_text().splitlines()]


def test_a_test_set_is_read_once_with_the_best_checkpoint(config, train):
    runner = train(with_test_set(config, keep_best="held_out/score"))
    *validations, test = lines_of(runner)
    assert [line["mode"] for line in validations] == ["val"] * 4
    assert all(set(line["metrics"]) == {"held_out/score"} for line in validations)
    assert (test["mode"], test["iter"], set(test["metrics"])) == ("test", 2, {"secret/score"})
    assert test["checkpoint"].endswith("best_held_out_score_iter_2.pth")
    assert TinyRising.seen[4].equal(TinyRising.seen[1])


def test_the_last_weights_are_back_after_the_test(config, train):
    runner = train(with_test_set(config, keep_best="held_out/score"))
    assert runner.model.text_encoder.weight.equal(TinyRising.seen[3])


def test_without_a_best_checkpoint_the_last_weights_are_tested(config, train):
    runner = train(with_test_set(config))
    test = lines_of(runner)[-1]
    assert (test["mode"], test["iter"], test["checkpoint"]) == ("test", 4, None)


def test_a_resumed_run_does_not_test_twice(config, train):
    cfg = with_test_set(config, keep_best="held_out/score")
    train(cfg)
    runner = train(cfg | dict(resume=True))
    assert [line["mode"] for line in lines_of(runner)].count("test") == 1


def test_means_of_several_evaluations_can_choose_the_best(config, train):
    cfg = with_test_set(config, keep_best="val/score")
    cfg["evaluations"]["second"] = dict(cfg["evaluations"]["held_out"])
    cfg["val_cfg"] = dict(type="EvaluationLoop", means={"val/score": ["held_out/score", "second/score"]})
    runner = train(cfg)
    first = lines_of(runner)[0]["metrics"]
    assert first["val/score"] == (first["held_out/score"] + first["second/score"]) / 2
    assert lines_of(runner)[-1]["mode"] == "test"
