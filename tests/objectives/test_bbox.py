import torch

from tests.models.conftest import losses_of, region_batch, states_of, tiny_model
from x2vlm.boxes import cxcywh_to_xyxy, paired_giou, xyxy_to_cxcywh


def predicted(model, encoded):
    return model.objectives["bbox"].box(states_of(model, "bbox", encoded))


def test_it_is_l1_and_giou_over_the_pairs_that_have_a_box():
    model, batch = tiny_model(), region_batch()
    encoded = model.encode(batch)
    bbox = model.objectives["bbox"]
    losses = losses_of(model, "bbox", encoded)
    boxes = bbox.box(states_of(model, "bbox", encoded))
    own = batch.has_box
    l1 = (boxes - xyxy_to_cxcywh(batch.boxes_xyxy)).abs().sum(1)[own].mean()
    giou = (1 - paired_giou(cxcywh_to_xyxy(boxes), batch.boxes_xyxy))[own].mean()
    torch.testing.assert_close(losses["loss_bbox"], l1)
    torch.testing.assert_close(losses["loss_giou"], giou)


def test_a_batch_without_boxes_costs_nothing_and_stays_finite():
    model, batch = tiny_model(), region_batch()
    batch.has_box = torch.zeros(5, dtype=torch.bool)
    losses = losses_of(model, "bbox", model.encode(batch))
    assert losses == {"loss_bbox": 0.0, "loss_giou": 0.0}
    sum(losses.values()).backward()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


def test_whole_images_can_be_boxes_too():
    model, batch = tiny_model(), region_batch()
    bbox = model.objectives["bbox"]
    bbox.whole_images = True
    encoded = model.encode(batch)
    assert not batch.has_box.all()
    whole = torch.tensor([0.5, 0.5, 1.0, 1.0])
    target = torch.where(batch.has_box[:, None], xyxy_to_cxcywh(batch.boxes_xyxy), whole)
    l1 = (predicted(model, encoded) - target).abs().sum(1).mean()
    torch.testing.assert_close(losses_of(model, "bbox", encoded)["loss_bbox"], l1)


def test_one_bad_box_does_not_silence_the_others():
    model, batch = tiny_model(), region_batch()
    batch.boxes_xyxy[2] = torch.tensor([0.6, 0.6, 0.5, 0.5])  # inside out
    encoded = model.encode(batch)
    good = torch.tensor([True, False, False, True, True])
    giou = (1 - paired_giou(cxcywh_to_xyxy(predicted(model, encoded)), batch.boxes_xyxy))[good].mean()
    torch.testing.assert_close(losses_of(model, "bbox", encoded)["loss_giou"], giou)
    assert giou > 0


def test_a_box_is_sought_in_the_whole_image_not_in_its_region():
    model, batch = tiny_model(), region_batch()
    before = predicted(model, model.encode(batch))
    batch.boxes_xyxy = batch.boxes_xyxy.roll(1, 0)
    torch.testing.assert_close(predicted(model, model.encode(batch)), before)
