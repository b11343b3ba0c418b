"""What a metric gives is looked at, and what it will call is known before a run begins."""

import pytest
import torch
from torch import nn

from x2vlm.building import ConfigError, PartError
from x2vlm.engine import build_runner
from x2vlm.engine.metric_contract import check_calls, result_problem
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
    ],
)
def test_what_is_no_dict_of_numbers_is_told(result, message):
    assert message in result_problem(result)


def test_numbers_of_all_makes_are_taken():
    assert result_problem({"a": 1, "b": 0.5, "c": torch.tensor(0.5), "d": True}) == ""


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
        return 0.5


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("number", r"^evaluation 'held_out': TinyWrong\.evaluate returned float; expected a dict of numbers"),
        ("error", r"^evaluation 'held_out': TinyWrong raised KeyError: 'recall'"),
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


def test_the_helper_evaluates_a_tiny_model():
    class Mean:
        def evaluate(self, model, loader):
            return {"mean": torch.stack([model.encode(batch).text.feat.mean() for batch in loader]).mean()}

    assert set(assert_metric(Mean())) == {"mean"}
    with pytest.raises(AssertionError, match=r"TinyWrong\.evaluate returned float"):
        assert_metric(TinyWrong("number"))
