"""Weakly supervised grounding: proposals, maps, and what the metric counts."""

import json
from dataclasses import replace

import pytest
import torch

from tests.two_processes import in_two_processes
from x2vlm.evaluation.grad_cam import match_logit, token_maps
from x2vlm.evaluation.tasks.gradcam_grounding import GradCamGroundingMetric
from x2vlm.models.eval_mode import eval_mode

LEFT, RIGHT, WIDE = [0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 0.6, 1.0]
WHOLE = [0.0, 0.0, 1.0, 1.0]


@pytest.fixture
def batch(make):
    """Two images of two halves each; a caption of the second, which is no phrase."""
    batch = make.batch([0, 0, 1, 1, 1], [1, 2, 3, 4, 5], boxes=[LEFT, RIGHT, LEFT, RIGHT, WHOLE])
    extras = [{"image_size": (40, 60), "image_id": 7}, {"image_size": (40, 60), "image_id": 8}]
    return replace(batch, has_box=torch.tensor([True, True, True, True, False]), extras=extras)


@pytest.fixture
def maps(monkeypatch):
    """Makes all maps bright in the left half, or in the right one."""

    def fix(half):
        heat = torch.zeros(2, 2)
        heat[:, half] = 1.0
        monkeypatch.setattr(
            GradCamGroundingMetric, "_maps", lambda self, m, e, rows, layer: heat.expand(len(rows), 2, 2)
        )

    return fix


def test_the_proposal_under_the_map_is_chosen(model, batch, maps):
    maps(0)
    results = GradCamGroundingMetric().evaluate(model, [batch])
    assert results["accuracy_at_0.5"] == 50  # that of the left halves
    assert results["chance_accuracy"] == 50
    assert results["oracle_accuracy"] == 100
    assert results["mean_iou"] == 50


def test_maps_are_grad_cam_of_the_matching_logit_over_all_real_tokens(model, batch):
    metric = GradCamGroundingMetric(layer=1)
    with eval_mode(model):
        encoded = model.encode(batch)
        found = metric._maps(model, encoded, torch.tensor([2, 3]), layer=1)
        context = encoded.full_context
        states = torch.cat([context.summary[2][None], context.tokens[1]])
        for place, row in enumerate((2, 3)):
            length = int(batch.text_mask[row].sum())
            alone = model.encode_text(batch.text_ids[row : row + 1, :length], batch.text_mask[row : row + 1, :length])
            heat, probability = token_maps(model, states, alone, 1, score=match_logit)
            torch.testing.assert_close(found[place].flatten(), heat[0].mean(dim=0), atol=1e-6, rtol=1e-4)
            fused = model.fuse(context, encoded.text, at=0)[row]
            expected = model.objectives["itm"].score(fused).softmax(dim=-1)[1]
            torch.testing.assert_close(probability[0], expected, atol=1e-5, rtol=1e-4)
    assert found.abs().sum() > 0


def test_without_special_tokens_only_the_words_between_count(model, batch):
    with eval_mode(model):
        encoded = model.encode(batch)
        rows = torch.tensor([2, 3])
        heat, _ = token_maps(
            model,
            torch.cat([encoded.full_context.summary[2][None], encoded.full_context.tokens[1]]),
            encoded.text.select(rows),
            1,
            score=match_logit,
        )
        found = GradCamGroundingMetric(special_tokens=False)._maps(model, encoded, rows, layer=1)
    for place, row in enumerate((2, 3)):
        length = int(batch.text_mask[row].sum())
        words = heat[place, 1 : length - 1] if length > 2 else heat[place, :length]
        torch.testing.assert_close(found[place].flatten(), words.mean(dim=0))


def test_gradients_do_not_reach_the_weights(model, batch):
    GradCamGroundingMetric().evaluate(model, [batch])
    assert all(parameter.grad is None for parameter in model.parameters())


def test_proposals_come_from_a_file_in_pixels(model, batch, maps, tmp_path):
    maps(0)
    right, wide = [30, 0, 30, 40], [0, 0, 36, 40]
    (tmp_path / "dets.json").write_text(json.dumps({"7": [right, wide], "8": []}))
    metric = GradCamGroundingMetric(
        proposals=tmp_path / "dets.json", save_to="boxes.jsonl", save_extras=("image_id",), work_dir=tmp_path
    )
    results = metric.evaluate(model, [batch])
    assert results["accuracy_at_0.5"] == 25  # of four phrases, two of which have no proposal
    assert results["oracle_accuracy"] == 50
    assert results["largest_accuracy"] == 25
    lines = [json.loads(line) for line in (tmp_path / "boxes.jsonl").read_text().splitlines()]
    assert [line["image_id"] for line in lines] == [7, 7, 8, 8]
    assert lines[0]["box_xyxy"] == pytest.approx(WIDE, abs=1e-5)
    assert lines[0]["iou"] == pytest.approx(0.5 / 0.6, abs=1e-5)
    assert lines[3]["box_xyxy"] is None


def test_a_list_of_coco_results_is_the_same_as_an_object_by_image(model, batch, maps, tmp_path):
    maps(0)
    boxes = [[30, 0, 30, 40], [0, 0, 36, 40]]
    (tmp_path / "by_image.json").write_text(json.dumps({"7": boxes, "8": boxes}))
    listed = [{"image_id": image, "bbox": box, "score": 0.5} for image in (7, 8) for box in boxes]
    (tmp_path / "coco.json").write_text(json.dumps(listed))
    metrics = [GradCamGroundingMetric(proposals=tmp_path / name) for name in ("by_image.json", "coco.json")]
    first, second = (metric.evaluate(model, [batch]) for metric in metrics)
    assert first == second


def test_kinds_of_phrases_have_accuracies_and_chances_of_their_own(model, batch, maps):
    maps(0)
    kinds = [{"kinds": ["object", "region"]}, {"kinds": ["object", "region", "caption"]}]
    batch = replace(batch, extras=[one | kind for one, kind in zip(batch.extras, kinds, strict=True)])
    results = GradCamGroundingMetric().evaluate(model, [batch])
    assert (results["accuracy_at_0.5_object"], results["accuracy_at_0.5_region"]) == (100, 0)
    assert results["chance_accuracy_object"] == 50


def test_two_processes_count_and_save_what_one_does(model, batch, tmp_path):
    batches = [replace(batch, where=[f"data:{n}"] * 5) for n in range(3)]
    expected = GradCamGroundingMetric(save_to=tmp_path / "one").evaluate(model, batches)
    metric = GradCamGroundingMetric(save_to=tmp_path / "two")
    results = in_two_processes(lambda rank: metric.evaluate(model, batches[rank::2]), tmp_path)
    assert results[0] == results[1] == pytest.approx(expected)
    assert (tmp_path / "two").read_text() == (tmp_path / "one").read_text()


def test_what_is_missing_is_told(model, batch, make, tmp_path):
    with pytest.raises(ValueError, match=r"layer is 2, but the fusion encoder has layers 0 to 1"):
        GradCamGroundingMetric(layer=2).evaluate(model, [batch])
    with pytest.raises(ValueError, match=r"extras\['image_size'\]"):
        GradCamGroundingMetric().evaluate(model, [replace(batch, extras=[{}, {}])])
    with pytest.raises(ValueError, match="no text of this evaluation has a box"):
        GradCamGroundingMetric().evaluate(model, [make.batch([0, 1], [8, 9])])
    with pytest.raises(FileNotFoundError, match=r"there is no file .*nowhere\.json"):
        GradCamGroundingMetric(proposals=tmp_path / "nowhere.json")
    (tmp_path / "bad.json").write_text('{"7": [[1, 2, 3]]}')
    with pytest.raises(ValueError, match=r"bad\.json: a proposal of image 7 is \[1, 2, 3\]; expected"):
        GradCamGroundingMetric(proposals=tmp_path / "bad.json")
    (tmp_path / "named.json").write_text('{"7": [[1, 2, 3, 4]]}')
    with pytest.raises(ValueError, match=r"extras\['image_id'\], but a record has none"):
        sizes = [{"image_size": (40, 60)}] * 2
        GradCamGroundingMetric(proposals=tmp_path / "named.json").evaluate(model, [replace(batch, extras=sizes)])
    del model.objectives["itm"]
    with pytest.raises(ValueError, match=r"GradCamGroundingMetric needs objective 'itm'"):
        GradCamGroundingMetric().evaluate(model, [batch])


@pytest.mark.parametrize("wrong", [dict(convention="pixel"), dict(threshold=0)])
def test_invalid_options_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GradCamGroundingMetric(**wrong)
