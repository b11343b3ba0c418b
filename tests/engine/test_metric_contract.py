"""What a metric gives is looked at, and what it will call is known before a run begins."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from x2vlm.building import ConfigError, PartError
from x2vlm.engine import build_runner
from x2vlm.engine.metric_contract import check_calls, nan_warning, result_problem, state_of, state_problem
from x2vlm.evaluation.tasks.retrieval import RetrievalMetric
from x2vlm.registry import METRICS
from x2vlm.testing import assert_metric, tiny_model


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, r"NoneType; expected a dict of numbers by name"),
        (0.5, "float; expected a dict"),
        ({"recall": "high"}, "str as 'recall'; expected"),
        ({"recall": torch.zeros(2)}, "Tensor as 'recall'; expected"),
        ({"recall": 1j}, "complex as 'recall'; expected"),
        ({"recall": torch.tensor(1j)}, "Tensor as 'recall'; expected"),
        ({"recall": np.array("high")}, "ndarray as 'recall'; expected"),
        ({1: 0.5}, "1 as the name of a number; expected"),
    ],
)
def test_what_is_no_dict_of_numbers_is_told(result, message):
    assert message in result_problem(result)


def test_numbers_of_all_makes_are_taken():
    assert result_problem({"a": 1, "b": 0.5, "c": torch.tensor(0.5), "d": True, "e": np.float32(0.5)}) == ""


def test_a_number_that_is_none_is_a_warning_with_its_name():
    assert nan_warning(TinyWrong("number"), {"a": 1, "b": torch.tensor(0.5)}) == ""
    warning = nan_warning(TinyWrong("number"), {"a": float("nan"), "b": 0.5})
    assert warning.startswith("TinyWrong.evaluate returned a=nan, by which no two runs can be compared")


class Calls:
    """Says what it calls as ``found``."""

    def __init__(self, found) -> None:
        self.found = found

    def called_methods(self, objectives):
        return self.found


class NoObjectives:
    def called_methods(self):
        return {}


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Calls(["itm.score"]), r"Calls\.called_methods returned \['itm\.score'\]; expected methods by objective"),
        (Calls({"itm": "score"}), r"Calls\.called_methods returned \{'itm': 'score'\}; expected .*\('score',\)"),
        (NoObjectives(), r"NoObjectives\.called_methods is called with a list of objectives"),
    ],
    ids=["a list", "no tuple", "no argument"],
)
def test_calls_that_cannot_be_read_are_told(metric, message):
    with pytest.raises(ConfigError, match=rf"^metric: {message}"):
        check_calls(metric, tiny_model(), "metric")


class Matching(nn.Module):
    """An objective that is called itm, and has no score."""


def test_a_method_that_an_evaluation_will_call_is_missed_before_training():
    model = tiny_model()
    check_calls(RetrievalMetric(), model, "evaluations.retrieval.metric")
    model.objectives["itm"] = Matching()
    message = (
        r"evaluations\.retrieval\.metric: RetrievalMetric calls score\(\) of model\.objectives\.itm, which Matching"
    )
    with pytest.raises(ConfigError, match=message):
        check_calls(RetrievalMetric(), model, "evaluations.retrieval.metric")
    check_calls(RetrievalMetric(rerank=False), model, "evaluations.retrieval.metric")


def test_an_objective_that_is_not_there_is_missed_before_training():
    model = tiny_model(objectives=dict(itc=dict(type="ITC")))
    with pytest.raises(ConfigError, match=r"RetrievalMetric asks objective 'itm', .* are: itc\."):
        check_calls(RetrievalMetric(), model, "evaluations.retrieval.metric")


@METRICS.register_module(force=True)
class TinyWrong:
    """Gives ``result``; raises it where it is an error."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def evaluate(self, model, loader):
        if self.kind == "error":
            raise KeyError("recall")
        if self.kind == "mode":
            model.train()
        if self.kind == "weights":
            next(model.parameters()).zero_()
        if self.kind == "frozen":
            model.requires_grad_(False)
        return 0.5 if self.kind == "number" else {"recall": 0.5}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("number", r"^evaluation 'held_out': TinyWrong\.evaluate returned float; expected a dict of numbers"),
        ("error", r"^evaluation 'held_out': TinyWrong raised KeyError: 'recall'"),
        ("mode", r"^evaluation 'held_out': TinyWrong\.evaluate left the model in training mode"),
        ("weights", r"^evaluation 'held_out': TinyWrong\.evaluate changed 1 parameter\(s\) of the model, such as"),
        ("frozen", r"^evaluation 'held_out': TinyWrong\.evaluate changed \d+ parameter\(s\) of the model, such as"),
    ],
)
def test_an_evaluation_names_the_metric_that_fails(config, kind, message):
    cfg = config(2)
    cfg["evaluations"]["held_out"]["metric"] = dict(type="TinyWrong", kind=kind)
    cfg["load_from"] = None
    from mmengine.config import Config

    runner = build_runner(Config(cfg))
    with pytest.raises(PartError, match=message):
        runner.train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda model: model.norm.train(), r"left the model in training mode"),
        (
            lambda model: model.norm.running_mean.add_(1),
            r"changed 1 buffer\(s\) of the model, such as norm\.running_mean",
        ),
    ],
)
def test_a_metric_that_changes_a_part_of_the_model_alone_is_named(change, message):
    model = torch.nn.Module()
    model.norm = torch.nn.BatchNorm1d(3)
    model.eval()
    before = state_of(model)
    assert state_problem(None, model, before) == ""
    change(model)
    assert re.search(message, state_problem(None, model, before))


def test_the_helper_evaluates_a_tiny_model():
    class Mean:
        def evaluate(self, model, loader):
            return {"mean": torch.stack([model.encode(batch).text.feat.mean() for batch in loader]).mean()}

    assert set(assert_metric(Mean())) == {"mean"}
    with pytest.raises(AssertionError, match=r"TinyWrong\.evaluate returned float"):
        assert_metric(TinyWrong("number"))
