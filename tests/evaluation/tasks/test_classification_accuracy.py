"""Accuracy with predictions that are known, and with a real, tiny model."""

from dataclasses import replace

import pytest
import torch

from tests.models.conftest import states_of
from x2vlm.evaluation.predictions import all_right, predictions_of_classes, sentence_of
from x2vlm.evaluation.tasks.classification_accuracy import ClassificationMetric
from x2vlm.models.eval_mode import eval_mode
from x2vlm.objectives.classification import Classification

# Likeliest first: 2 0 1, 0 2 1, 1 0 2, 0 1 2
SCORES = [[0.3, 0.1, 0.9], [0.9, 0.1, 0.3], [0.3, 0.9, 0.1], [0.9, 0.3, 0.1]]


@pytest.fixture
def four(make):
    batch = make.batch([0, 1, 2, 3], [1, 2, 3, 4])
    return replace(batch, labels=torch.tensor([2, 1, 1, 1]))


@pytest.fixture
def judge(model, monkeypatch):
    """The results of a model whose scores are these, batch by batch."""

    def evaluate(metric, batches, scores):
        objective = Classification(num_classes=len(scores[0]), width=8)
        model.objectives["classification"] = objective
        rest = iter(torch.tensor(scores).split([len(batch) for batch in batches]))
        monkeypatch.setattr(objective, "logits", lambda encoded, fused: next(rest))
        return metric.evaluate(model, batches)

    return evaluate


def test_accuracy_counts_the_likeliest_class_and_the_first_k(judge, four):
    results = judge(ClassificationMetric(at=(2,)), [four], SCORES)
    assert results["accuracy"] == 50  # 2 and 1 are right, 0 and 0 are not
    assert results["accuracy_top2"] == 75  # and the last is second
    assert results["majority_accuracy"] == 75


def test_an_accuracy_of_as_many_as_there_are_classes_says_nothing(judge, four):
    assert "accuracy_top3" not in judge(ClassificationMetric(at=(1, 3, 5)), [four], SCORES)


def test_of_equal_scores_the_first_class_is_the_answer():
    assert predictions_of_classes(torch.zeros(2, 3), torch.tensor([0, 2])).places.tolist() == [0, 2]


def test_the_models_own_scores_are_what_is_judged(model, images):
    model.objectives["classification"] = Classification(num_classes=7, width=8)
    batches = [replace(b, labels=torch.arange(len(b))) for b in images]
    with eval_mode(model):
        states = [states_of(model, "classification", model.encode(b)) for b in batches]
        logits = model.objectives["classification"].head(torch.cat(states))
    right = logits.argmax(1) == torch.cat([b.labels for b in batches])
    results = ClassificationMetric().evaluate(model, batches)
    assert results["accuracy"] == pytest.approx(100 * right.float().mean().item())
    assert results["majority_accuracy"] == pytest.approx(100 * 2 / 9)


def test_a_question_whose_answer_is_no_class_counts_as_wrong(judge, four):
    labels = torch.tensor([2, -100, 1, -100])
    results = judge(ClassificationMetric(), [replace(four, labels=labels)], SCORES)
    assert (results["accuracy"], results["majority_accuracy"]) == (50, 25)
    results = judge(ClassificationMetric(unknown="left_out"), [replace(four, labels=labels)], SCORES)
    assert (results["accuracy"], results["majority_accuracy"]) == (100, 50)


def test_where_several_are_right_any_of_them_is_and_weights_are_averaged(judge, four):
    weights = torch.tensor([[0, 0.3, 0.6], [0, 0.6, 1.0], [0, 0.9, 0], [0, 0, 0]])
    results = judge(ClassificationMetric(at=(2,)), [replace(four, labels=None, label_weights=weights)], SCORES)
    assert results["accuracy"] == 50
    assert results["accuracy_top2"] == 75
    assert results["weighted_accuracy"] == pytest.approx(100 * (0.6 + 0 + 0.9 + 0) / 4)
    assert results["majority_accuracy"] == 75  # class 1 is right for three


def test_batches_with_weights_and_with_plain_labels_are_judged_together(judge, four):
    weighted = replace(four, labels=None, label_weights=torch.tensor([[0, 0.3, 0.6]]).expand(4, 3))
    plain = replace(four, labels=torch.tensor([2, -100, 1, 1]))
    results = judge(ClassificationMetric(), [weighted, plain], SCORES * 2)
    assert results["accuracy"] == pytest.approx(100 * (2 + 2) / 8)
    assert results["weighted_accuracy"] == pytest.approx(100 * (0.6 + 0.3 + 1 + 1) / 8)


def test_a_sentence_is_consistent_if_it_is_right_about_every_picture(judge, four):
    names = ["dev-1-0-0", "dev-1-0-1", "dev-1-1-0", "dev-1-1-1"]  # sentences 0, 1, 0, 1 of set 1
    four = replace(four, extras=[{"identifier": name} for name in names])
    results = judge(ClassificationMetric(consistency="identifier"), [four], SCORES)
    assert (results["accuracy"], results["consistency"]) == (50, 50)
    four = replace(four, texts=["a", "a", "b", "b"])
    assert judge(ClassificationMetric(consistency="text"), [four], SCORES)["consistency"] == 0


def test_consistency_spans_batches():
    assert all_right(torch.tensor([True, True, False, True]), ["a", "b", "a", "b"]).tolist() == [False, True]
    assert sentence_of("test1-12-3-0") == "test1-12-0"
    assert sentence_of("850-1") == "850-1"


def test_two_pictures_of_a_text_belong_to_one_record(judge, make):
    batch = make.batch([0, 1, 2, 3], [1, 2, 3, 4])
    batch = replace(
        batch,
        text_ids=batch.text_ids[:2],
        text_mask=batch.text_mask[:2],
        text_owner=torch.tensor([0, 0, 1, 1]),
        boxes_xyxy=None,
        labels=torch.tensor([2, 1]),
        extras=[{"language": "zh"}, {"language": "sw"}],
    )
    results = judge(ClassificationMetric(), [batch], SCORES[:2])
    assert (results["accuracy_zh"], results["accuracy_sw"]) == (100, 0)


def test_languages_have_accuracies_of_their_own_and_a_plain_mean(judge, four):
    four = replace(four, extras=[{"language": name} for name in ("de", "de", "de", "en")])
    results = judge(ClassificationMetric(), [four], SCORES)
    assert results["accuracy_de"] == pytest.approx(200 / 3)
    assert results["accuracy_en"] == 0
    assert results["accuracy_mean_over_language"] == pytest.approx(100 / 3)


def test_f1_and_matthews_are_given_where_asked_for(judge, four):
    four = replace(four, labels=torch.tensor([1, 0, 1, 1]))
    scores = [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    results = judge(ClassificationMetric(also=("f1", "matthews")), [four], scores)
    assert results["f1"] == pytest.approx(80)  # precision 1, recall 2/3
    assert results["matthews"] == pytest.approx(100 * (2 * 1 - 0) / (2 * 3 * 1 * 2) ** 0.5)


def test_predicted_numbers_are_correlated_with_the_true_ones(judge, four):
    four = replace(four, labels=torch.tensor([1.0, 2.0, 3.0, -100.0]))
    results = judge(ClassificationMetric(), [four], [[2.0], [4.0], [6.0], [0.0]])
    assert results["pearson"] == pytest.approx(100)
    assert results["spearman"] == pytest.approx(100)
    assert results["mse"] == pytest.approx((1 + 4 + 9) / 3)
    assert results["mean_guess_mse"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(at=(0,)), "counts from 1"),
        (dict(also=("f2",)), r"'f2'.*Accepted: f1, matthews"),
        (dict(unknown="right"), "Accepted: wrong, left_out"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassificationMetric(**options)


def test_what_cannot_be_judged_is_told_in_a_sentence(model, judge, four):
    with pytest.raises(ValueError, match=r"objective 'classification'.*itc, itm, bbox"):
        ClassificationMetric().evaluate(model, [four])
    with pytest.raises(ValueError, match="yielded no records"):
        ClassificationMetric(objective="itm").evaluate(model, [])
    with pytest.raises(ValueError, match="no text of this evaluation has a label"):
        judge(ClassificationMetric(), [replace(four, labels=torch.full((4,), -100))], SCORES)
    with pytest.raises(ValueError, match=r"neither"):
        judge(ClassificationMetric(), [replace(four, labels=None)], SCORES)
    with pytest.raises(ValueError, match=r"extras\['identifier'\], but data:0 does not"):
        judge(ClassificationMetric(consistency="identifier"), [replace(four, extras=[{}] * 4)], SCORES)
    with pytest.raises(ValueError, match="not a number"):
        judge(ClassificationMetric(), [four], [[float("nan")] * 3] * 4)
    with pytest.raises(ValueError, match="a label is 2, but there are 2 classes"):
        predictions_of_classes(torch.zeros(1, 2), torch.tensor([2]))
