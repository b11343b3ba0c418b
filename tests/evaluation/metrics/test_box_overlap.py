"""Overlap of boxes in both conventions, and accuracies from it."""

import pytest
import torch

from x2vlm.boxes import paired_iou
from x2vlm.evaluation.metrics.box_overlap import accuracy_at, box_ious, mean_iou


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float)


def test_both_conventions_agree_on_boxes_that_overlap_by_more_than_a_pixel():
    predicted, true = (
        boxes([0.1, 0.1, 0.5, 0.6], [0.0, 0.2, 1.0, 0.7]),
        boxes([0.2, 0.2, 0.7, 0.9], [0.5, 0.5, 0.9, 1.0]),
    )
    inclusive = box_ious(predicted, true, "inclusive", torch.tensor([[100, 200], [50, 80]]))
    torch.testing.assert_close(inclusive, box_ious(predicted, true, "continuous"))
    torch.testing.assert_close(inclusive, paired_iou(predicted, true))


def test_in_the_inclusive_convention_an_overlap_of_one_pixel_counts_as_none():
    predicted, true, size = boxes([0.0, 0.0, 0.5, 0.5]), boxes([0.4, 0.4, 0.9, 0.9]), torch.tensor([[10, 10]])
    assert box_ious(predicted, true, "continuous") > 0
    assert box_ious(predicted, true, "inclusive", size) == 0


def test_an_unknown_convention_is_named():
    with pytest.raises(ValueError, match=r"'pixels'.*'continuous' or 'inclusive'"):
        box_ious(boxes([0, 0, 1, 1]), boxes([0, 0, 1, 1]), "pixels")


def test_the_inclusive_convention_needs_sizes():
    with pytest.raises(ValueError, match="size_px"):
        box_ious(boxes([0, 0, 1, 1]), boxes([0, 0, 1, 1]), "inclusive")


def test_accuracy_counts_an_iou_of_exactly_the_threshold():
    ious = torch.tensor([0.5, 0.49, 1.0, 0.0])
    assert accuracy_at(ious, 0.5) == 0.5
    assert mean_iou(ious) == pytest.approx(0.4975)
