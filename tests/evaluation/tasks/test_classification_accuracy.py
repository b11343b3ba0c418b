"""Accuracy of fixed scores, and of a tiny model."""

import json
from dataclasses import replace

import pytest
import torch

from tests.models.conftest import states_of
from x2vlm.evaluation.class_predictions import all_correct, class_predictions, nlvr2_sentence
from x2vlm.evaluation.tasks.classification_accuracy import ClassificationMetric
from x2vlm.models.eval_mode import eval_mode
from x2vlm.objectives.classification import Classification

# By descending score: 2 0 1, 0 2 1, 1 0 2, 0 1 2
SCORES = [[0.3, 0.1, 0.9], [0.9, 0.1, 0.3], [0.3, 0.9, 0.1], [0.9, 0.3, 0.1]]


@pytest.fixture
def four(make):
    batch = make.batch([0, 1, 2, 3], [1, 2, 3, 4])
    return replace(batch, labels=torch.tensor([2, 1, 1, 1]))


@pytest.fixture
def evaluate(model, monkeypatch):
    """The results of a model with these scores, batch by batch."""

    def run(metric, batches, scores):
        objective = Classification(num_classes=len(scores[0]), width=8)
        model.objectives["classification"] = objective
        rest = iter(torch.tensor(scores).split([len(batch) for batch in batches]))
        monkeypatch.setattr(objective, "logits", lambda encoded, fused: next(rest))
        return metric.evaluate(model, batches)

    return run


def test_accuracy_counts_the_predicted_class_and_the_top_k(evaluate, four):
    results = evaluate(ClassificationMetric(at=(2,)), [four], SCORES)
    assert results["accuracy"] == 50  # 2 and 1 are correct, 0 and 0 are not
    assert results["accuracy_top2"] == 75  # and the last is second
    assert results["majority_accuracy"] == 75


def test_a_top_k_accuracy_of_all_classes_is_left_out(evaluate, four):
    assert "accuracy_top3" not in evaluate(ClassificationMetric(at=(1, 3, 5)), [four], SCORES)


def test_of_equal_scores_the_first_class_is_predicted():
    assert class_predictions(torch.zeros(2, 3), torch.tensor([0, 2])).ranks.tolist() == [0, 2]


def test_the_scores_of_the_model_are_evaluated(model, images):
    model.objectives["classification"] = Classification(num_classes=7, width=8)
    batches = [replace(b, labels=torch.arange(len(b))) for b in images]
    with eval_mode(model):
        states = [states_of(model, "classification", model.encode(b)) for b in batches]
        logits = model.objectives["classification"].head(torch.cat(states))
    correct = logits.argmax(1) == torch.cat([b.labels for b in batches])
    results = ClassificationMetric().evaluate(model, batches)
    assert results["accuracy"] == pytest.approx(100 * correct.float().mean().item())
    assert results["majority_accuracy"] == pytest.approx(100 * 2 / 9)


def test_a_question_whose_answer_is_no_class_counts_as_wrong(evaluate, four):
    labels = torch.tensor([2, -100, 1, -100])
    results = evaluate(ClassificationMetric(), [replace(four, labels=labels)], SCORES)
    assert (results["accuracy"], results["majority_accuracy"]) == (50, 25)
    results = evaluate(ClassificationMetric(unknown="left_out"), [replace(four, labels=labels)], SCORES)
    assert (results["accuracy"], results["majority_accuracy"]) == (100, 50)


def test_any_of_several_correct_classes_counts_and_weights_are_averaged(evaluate, four):
    weights = torch.tensor([[0, 0.3, 0.6], [0, 0.6, 1.0], [0, 0.9, 0], [0, 0, 0]])
    results = evaluate(ClassificationMetric(at=(2,)), [replace(four, labels=None, label_weights=weights)], SCORES)
    assert results["accuracy"] == 50
    assert results["accuracy_top2"] == 75
    assert results["weighted_accuracy"] == pytest.approx(100 * (0.6 + 0 + 0.9 + 0) / 4)
    assert results["majority_accuracy"] == 75  # class 1 is correct for three


def test_batches_with_weights_and_with_labels_are_evaluated_together(evaluate, four):
    weighted = replace(four, labels=None, label_weights=torch.tensor([[0, 0.3, 0.6]]).expand(4, 3))
    plain = replace(four, labels=torch.tensor([2, -100, 1, 1]))
    results = evaluate(ClassificationMetric(), [weighted, plain], SCORES * 2)
    assert results["accuracy"] == pytest.approx(100 * (2 + 2) / 8)
    assert results["weighted_accuracy"] == pytest.approx(100 * (0.6 + 0.3 + 1 + 1) / 8)


def test_a_sentence_is_consistent_if_it_is_correct_for_every_image(evaluate, four):
    names = ["dev-1-0-0", "dev-1-0-1", "dev-1-1-0", "dev-1-1-1"]  # sentences 0, 1, 0, 1 of set 1
    four = replace(four, extras=[{"identifier": name} for name in names])
    results = evaluate(ClassificationMetric(consistency="identifier"), [four], SCORES)
    assert (results["accuracy"], results["consistency"]) == (50, 50)
    four = replace(four, texts=["a", "a", "b", "b"])
    assert evaluate(ClassificationMetric(consistency="text"), [four], SCORES)["consistency"] == 0


def test_consistency_spans_batches():
    assert all_correct(torch.tensor([True, True, False, True]), ["a", "b", "a", "b"]).tolist() == [False, True]
    assert nlvr2_sentence("test1-12-3-0") == "test1-12-0"
    assert nlvr2_sentence("850-1") == "850-1"


def test_two_images_of_a_text_belong_to_one_record(evaluate, make):
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
    results = evaluate(ClassificationMetric(), [batch], SCORES[:2])
    assert (results["accuracy_zh"], results["accuracy_sw"]) == (100, 0)


def test_languages_have_accuracies_of_their_own_and_a_mean(evaluate, four):
    four = replace(four, extras=[{"language": name} for name in ("de", "de", "de", "en")])
    results = evaluate(ClassificationMetric(), [four], SCORES)
    assert results["accuracy_de"] == pytest.approx(200 / 3)
    assert results["accuracy_en"] == 0
    assert results["accuracy_mean_over_language"] == pytest.approx(100 / 3)


def test_f1_and_matthews_are_reported_on_request(evaluate, four):
    four = replace(four, labels=torch.tensor([1, 0, 1, 1]))
    scores = [[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]
    results = evaluate(ClassificationMetric(also=("f1", "matthews")), [four], scores)
    assert results["f1"] == pytest.approx(80)  # precision 1, recall 2/3
    assert results["matthews"] == pytest.approx(100 * (2 * 1 - 0) / (2 * 3 * 1 * 2) ** 0.5)


def test_predicted_numbers_are_correlated_with_the_true_ones(evaluate, four):
    four = replace(four, labels=torch.tensor([1.0, 2.0, 3.0, -100.0]))
    results = evaluate(ClassificationMetric(), [four], [[2.0], [4.0], [6.0], [0.0]])
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
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ClassificationMetric(**options)


def test_errors_say_what_is_wrong(model, evaluate, four):
    with pytest.raises(ValueError, match=r"objective 'classification'.*itc, itm, bbox"):
        ClassificationMetric().evaluate(model, [four])
    with pytest.raises(ValueError, match="yielded no records"):
        ClassificationMetric(objective="itm").evaluate(model, [])
    with pytest.raises(ValueError, match="no text of this evaluation has a label"):
        evaluate(ClassificationMetric(), [replace(four, labels=torch.full((4,), -100))], SCORES)
    with pytest.raises(ValueError, match=r"neither"):
        evaluate(ClassificationMetric(), [replace(four, labels=None)], SCORES)
    with pytest.raises(ValueError, match=r"extras\['identifier'\], but data:0 does not have it"):
        evaluate(ClassificationMetric(consistency="identifier"), [replace(four, extras=[{}] * 4)], SCORES)
    with pytest.raises(ValueError, match="not a number"):
        evaluate(ClassificationMetric(), [four], [[float("nan")] * 3] * 4)
    with pytest.raises(ValueError, match="a label is 2, but there are 2 classes"):
        class_predictions(torch.zeros(1, 2), torch.tensor([2]))


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_predictions_are_saved_as_json_lines(evaluate, four, tmp_path):
    four = replace(four, labels=torch.tensor([2, 1, -100, 1]), extras=[{"identifier": f"dev-{i}"} for i in range(4)])
    metric = ClassificationMetric(save_to="classes.jsonl", save_extras=("identifier",), work_dir=tmp_path)
    evaluate(metric, [four], SCORES)
    lines = lines_of(tmp_path / "classes.jsonl")
    assert [line["predicted"] for line in lines] == [2, 0, 1, 0]
    assert [line["label"] for line in lines] == [2, 1, None, 1]
    assert [line["correct"] for line in lines] == [True, False, None, False]
    assert [line["probability"] for line in lines] == pytest.approx(torch.tensor(SCORES).softmax(1).amax(1).tolist())
    assert [line["identifier"] for line in lines] == ["dev-0", "dev-1", "dev-2", "dev-3"]
    assert lines[0]["text"] == "text 0"
    evaluate(metric, [four], SCORES)
    assert lines_of(tmp_path / "classes.jsonl") == lines  # each evaluation overwrites


def test_predicted_numbers_are_saved_without_a_probability(evaluate, four, tmp_path):
    four = replace(four, labels=torch.tensor([1.0, 2.0, 3.0, -100.0]))
    evaluate(ClassificationMetric(save_to=tmp_path / "n.jsonl"), [four], [[2.0], [4.0], [6.0], [0.5]])
    lines = lines_of(tmp_path / "n.jsonl")
    assert [(line["predicted"], line["label"]) for line in lines] == [(2, 1), (4, 2), (6, 3), (0.5, None)]
    assert "probability" not in lines[0]


def test_a_test_set_without_labels_is_predicted_where_predictions_are_saved(evaluate, four, tmp_path):
    metric = ClassificationMetric(save_to=tmp_path / "test.jsonl")
    assert evaluate(metric, [replace(four, labels=None)], SCORES) == {}
    assert [line["predicted"] for line in lines_of(tmp_path / "test.jsonl")] == [2, 0, 1, 0]
