"""Sums of maps inside boxes."""

import pytest
import torch
import torch.nn.functional as F

from x2vlm.evaluation.metrics.proposal_scores import proposal_scores

BOXES_PX = torch.tensor(
    [[0.0, 0.0, 60.0, 40.0], [10.0, 5.0, 30.0, 25.0], [31.6, 20.2, 60.0, 39.9], [59.7, 39.7, 60, 40]]
)


def test_scores_are_the_published_sums_over_pixels():
    maps = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(0))
    scale = torch.tensor([60.0, 40.0, 60.0, 40.0])
    found = proposal_scores(maps, BOXES_PX / scale, (40, 60))
    pixels = F.interpolate(maps[:, None], size=(40, 60), mode="bicubic")[:, 0]
    for column, (x0, y0, x1, y1) in enumerate([(0, 0, 60, 40), (10, 5, 30, 25), (31, 20, 60, 39), (59, 39, 60, 40)]):
        expected = pixels[:, y0:y1, x0:x1].sum(dim=(1, 2)) / ((x1 - x0) * (y1 - y0)) ** 0.5
        torch.testing.assert_close(found[:, column], expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("power", "best"), [(0.0, 0), (0.5, 1), (1.0, 2)])
def test_the_power_of_the_area_chooses_between_large_and_small_boxes(power, best):
    maps = torch.full((1, 8, 8), 0.01)
    maps[0, 2:4, 2:4] = 1.0
    maps[0, 2, 2] = 1.5
    boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.25, 0.25, 0.5, 0.5], [0.26, 0.26, 0.34, 0.34]])
    assert proposal_scores(maps, boxes, (80, 80), power).argmax() == best
