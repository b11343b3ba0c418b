import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import box_convert, generalized_box_iou_loss

from x2vlm.boxes import cxcywh_to_xyxy, paired_giou, paired_iou, xyxy_to_cxcywh
from x2vlm.boxes_to_patches import boxes_to_patch_mask

edge = st.floats(0, 1, width=32)


@st.composite
def boxes(draw):
    x, y = sorted([draw(edge), draw(edge)]), sorted([draw(edge), draw(edge)])
    return torch.tensor([[x[0], y[0], x[1], y[1]]])


@given(boxes())
def test_box_formats_round_trip(box):
    torch.testing.assert_close(cxcywh_to_xyxy(xyxy_to_cxcywh(box)), box, atol=1e-6, rtol=0)


def test_conversions_have_the_numbers_of_torchvision_to_the_bit_in_any_shape():
    corners = torch.rand(5, 40, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=2).values.flatten(2)
    centres = box_convert(corners, "xyxy", "cxcywh")
    assert torch.equal(xyxy_to_cxcywh(corners), centres)
    assert torch.equal(cxcywh_to_xyxy(centres), box_convert(centres, "cxcywh", "xyxy"))


@given(boxes(), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_every_box_owns_at_least_one_patch_and_those_are_a_rectangle(box, grid):
    mask = boxes_to_patch_mask(box, grid)[0].view(grid)
    assert mask.any()
    assert torch.equal(mask, mask.any(1)[:, None] & mask.any(0)[None])


@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_a_box_on_patch_edges_owns_exactly_the_patches_inside(rows, cols, data):
    y0, x0 = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, cols - 1))
    y1, x1 = data.draw(st.integers(y0 + 1, rows)), data.draw(st.integers(x0 + 1, cols))
    mask = boxes_to_patch_mask(torch.tensor([[x0 / cols, y0 / rows, x1 / cols, y1 / rows]]), (rows, cols)).view(
        rows, cols
    )
    expected = torch.zeros(rows, cols, dtype=torch.bool)
    expected[y0:y1, x0:x1] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("box", [(1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)])
def test_a_point_in_a_corner_owns_the_corner(box):
    assert boxes_to_patch_mask(torch.tensor([box]), (3, 3)).sum() == 1


def test_overlap_of_boxes_by_hand():
    first = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
    second = torch.tensor([[0.25, 0.0, 0.75, 0.5], [0.8, 0.8, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1]])
    torch.testing.assert_close(paired_iou(first, second), torch.tensor([1 / 3, 0.0, 0.0]))
    # Second pair: union 0.08 in a hull of 1, so 0 - (1 - 0.08) / 1.
    torch.testing.assert_close(paired_giou(first, second)[:2], torch.tensor([1 / 3, -0.92]), atol=1e-5, rtol=0)


def test_generalised_overlap_has_the_numbers_and_gradients_of_torchvision():
    corners = torch.rand(200, 2, 2, 2, generator=torch.Generator().manual_seed(0)).sort(dim=2).values.flatten(2)
    corners[:20, 1, 2:] = corners[:20, 1, :2]  # without extent
    corners[20:30, 1] = corners[20:30, 0]
    wanted = [corners[:, side].clone().requires_grad_() for side in (0, 1)]
    weights = torch.rand(200, generator=torch.Generator().manual_seed(1))
    ours, theirs = paired_giou(*wanted), 1 - generalized_box_iou_loss(*wanted, reduction="none")
    torch.testing.assert_close(ours, theirs)
    grads = [torch.autograd.grad((value * weights).sum(), wanted) for value in (ours, theirs)]
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine[30:], other[30:])  # where edges coincide a minimum has no one gradient
