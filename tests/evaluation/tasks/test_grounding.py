"""Phrase grounding with fixed predictions."""

import json
from dataclasses import replace

import pytest
import torch

from tests.models.conftest import states_of
from x2vlm.boxes import cxcywh_to_xyxy, paired_iou, xyxy_to_cxcywh
from x2vlm.evaluation.tasks import grounding
from x2vlm.evaluation.tasks.grounding import GroundingMetric, confidence_summary, match_confidence

TRUE = [[0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], [0.0, 0.5, 0.5, 1.0]]


@pytest.fixture
def batch(make):
    """Two images: one with two boxes, one with a box and a caption of the whole image."""
    batch = make.batch([0, 0, 1, 1], [1, 2, 3, 4], boxes=[*TRUE, [0.0, 0.0, 1.0, 1.0]])
    return replace(batch, has_box=torch.tensor([True, True, True, False]))


@pytest.fixture
def predict(model, monkeypatch):
    """Makes the model predict these boxes."""

    def fix(boxes_xyxy):
        predictions = xyxy_to_cxcywh(torch.tensor(boxes_xyxy))
        monkeypatch.setattr(model.objectives["bbox"], "box", lambda states: predictions[: len(states)])

    return fix


def test_every_box_of_its_own_counts_once_and_captions_do_not(model, batch, predict):
    predict([TRUE[0], TRUE[1], [0.0, 0.0, 0.1, 0.1], [0.9, 0.9, 1.0, 1.0]])
    results = GroundingMetric().evaluate(model, [batch])
    assert results["accuracy_at_0.5"] == pytest.approx(100 * 2 / 3)
    assert results["mean_iou"] == pytest.approx(100 * 2 / 3)


def test_the_baseline_predicts_the_mean_of_the_true_boxes(model, batch, predict):
    predict([TRUE[0]] * 4)
    results = GroundingMetric().evaluate(model, [batch])
    # The mean box is 1/6..2/3 wide and 1/3..5/6 high: of area 1/4 like the others.
    overlaps = torch.tensor([1 / 3 * 1 / 6, 1 / 6 * 1 / 3, 1 / 3 * 1 / 3])
    expected = (overlaps / (0.5 - overlaps)).mean().item()
    assert results["average_box_mean_iou"] == pytest.approx(100 * expected, abs=1e-4)
    assert results["average_box_accuracy"] == 0


def test_the_box_of_the_baseline_can_be_given(model, batch, predict):
    predict([TRUE[0]] * 4)
    results = GroundingMetric(average_box_cxcywh=(0.25, 0.25, 0.5, 0.5)).evaluate(model, [batch])
    assert results["average_box_accuracy"] == pytest.approx(100 / 3)


def test_the_threshold_names_the_accuracy(model, batch, predict):
    predict([[0.0, 0.0, 0.5, 0.3]] * 4)
    assert GroundingMetric(threshold=0.6).evaluate(model, [batch])["accuracy_at_0.6"] == pytest.approx(100 / 3)
    assert GroundingMetric(threshold=0.7).evaluate(model, [batch])["accuracy_at_0.7"] == 0


def test_kinds_of_phrases_have_accuracies_of_their_own(model, batch, predict):
    batch = replace(batch, extras=[{"kinds": ["object", "region"]}, {"kinds": ["object", "caption"]}])
    predict([TRUE[0], TRUE[0], TRUE[2], TRUE[0]])
    results = GroundingMetric().evaluate(model, [batch])
    assert results["accuracy_at_0.5_object"] == 100
    assert results["accuracy_at_0.5_region"] == 0
    assert "accuracy_at_0.5_caption" not in results


def test_the_inclusive_convention_uses_the_sizes_of_the_images(model, batch, predict):
    one_pixel_off = [[0.0, 0.0, 0.5, 0.5], [0.4, 0.4, 0.6, 0.6], TRUE[2], TRUE[0]]
    predict(one_pixel_off)
    batch = replace(batch, extras=[{"image_size": (10, 10)}, {"image_size": (100, 100)}])
    inclusive = GroundingMetric(convention="inclusive").evaluate(model, [batch])["mean_iou"]
    continuous = GroundingMetric().evaluate(model, [batch])["mean_iou"]
    assert inclusive == pytest.approx(100 * 2 / 3)
    assert continuous == pytest.approx(100 * (2 + 0.01 / 0.28) / 3)


def test_the_inclusive_convention_says_which_size_is_missing(model, batch):
    with pytest.raises(ValueError, match=r"extras\['image_size'\]"):
        GroundingMetric(convention="inclusive").evaluate(model, [batch])


def test_the_boxes_of_the_model_are_evaluated(model, batch):
    predicted = cxcywh_to_xyxy(model.objectives["bbox"].box(states_of(model, "bbox", model.encode(batch))).detach())
    expected = paired_iou(predicted[:3], torch.tensor(TRUE)).mean().item()
    assert 0 < expected < 1
    assert GroundingMetric().evaluate(model, [batch])["mean_iou"] == pytest.approx(100 * expected, rel=1e-5)


def test_confidence_is_the_probability_that_phrase_and_whole_image_match(model, batch):
    encoded = model.encode(batch)
    fused = model.fusion_encoder(encoded.text, encoded.context.whole())[:, 0]
    expected = model.objectives["itm"].head(fused).softmax(-1)[:, 1]
    torch.testing.assert_close(match_confidence(model, encoded), expected)


def test_confidence_is_averaged_over_correct_and_wrong_boxes(model, batch, predict, monkeypatch):
    monkeypatch.setattr(grounding, "match_confidence", lambda model, encoded: torch.tensor([0.9, 0.4, 0.8, 1.0]))
    predict([TRUE[0], TRUE[1], TRUE[0], TRUE[0]])  # correct, correct, wrong; the last is a caption
    results = GroundingMetric().evaluate(model, [batch])
    assert results["confidence_right"] == pytest.approx(65)
    assert results["confidence_wrong"] == pytest.approx(80)
    assert results["confidence_ap"] == pytest.approx(100 * (1 / 1 + 2 / 3) / 2)


def test_means_of_nothing_are_left_out():
    summary = confidence_summary(torch.tensor([0.2, 0.4]), torch.tensor([False, False]))
    assert summary == pytest.approx({"confidence_wrong": 30})


def test_a_model_without_matching_has_no_confidence(model, batch, predict):
    predict([*TRUE, TRUE[0]])
    del model.objectives["itm"]
    results = GroundingMetric().evaluate(model, [batch])
    assert results["accuracy_at_0.5"] == 100
    assert not any(name.startswith("confidence") for name in results)


def test_batches_without_boxes_are_skipped(model, batch, make, predict):
    predict([*TRUE, TRUE[0]])
    captions = make.batch([0, 1], [8, 9])
    assert GroundingMetric().evaluate(model, [captions, batch])["accuracy_at_0.5"] == 100


def test_nothing_to_ground_is_an_error(model, make):
    with pytest.raises(ValueError, match="no text of this evaluation has a box"):
        GroundingMetric().evaluate(model, [make.batch([0, 1], [8, 9])])


def test_a_model_without_box_prediction_is_an_error_that_says_what_to_do(model, batch):
    del model.objectives["bbox"]
    with pytest.raises(ValueError, match=r"'bbox'.*itc, itm.*leave this evaluation out"):
        GroundingMetric().evaluate(model, [batch])


@pytest.mark.parametrize("wrong", [dict(convention="pixel"), dict(threshold=0), dict(average_box_cxcywh=(0.5, 0.5))])
def test_invalid_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GroundingMetric(**wrong)


def test_predictions_are_saved_as_json_lines_without_captions_of_whole_images(model, batch, predict, tmp_path):
    batch = replace(batch, extras=[{"ref_id": 7, "kinds": ["object", "region"]}, {"ref_id": 8, "kinds": ["object"]}])
    predict([TRUE[0], TRUE[0], TRUE[2], TRUE[0]])
    metric = GroundingMetric(save_to="found/boxes.jsonl", save_extras=("ref_id",), work_dir=tmp_path)
    results = metric.evaluate(model, [batch])
    lines = [json.loads(line) for line in (tmp_path / "found" / "boxes.jsonl").read_text().splitlines()]
    assert [line["text"] for line in lines] == ["text 0", "text 1", "text 2"]
    assert [line["where"] for line in lines] == ["data:0", "data:0", "data:1"]
    assert [line["ref_id"] for line in lines] == [7, 7, 8]
    assert [line["kind"] for line in lines] == ["object", "region", "object"]
    assert [line["iou"] for line in lines] == pytest.approx([1, 0, 1], abs=1e-5)
    assert [line["true_box_xyxy"] for line in lines] == TRUE
    assert lines[1]["box_xyxy"] == pytest.approx(TRUE[0], abs=1e-5)
    assert 0 < lines[0]["confidence"] < 1
    assert sum(line["iou"] for line in lines) / 3 == pytest.approx(results["mean_iou"] / 100, abs=1e-5)


def test_an_extra_that_a_record_lacks_is_named(model, batch, tmp_path):
    metric = GroundingMetric(save_to="boxes.jsonl", save_extras=("ref_id",), work_dir=tmp_path)
    with pytest.raises(ValueError, match=r"extras\['ref_id'\], but data:0 has none"):
        metric.evaluate(model, [replace(batch, extras=[{}, {}])])
