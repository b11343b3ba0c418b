"""Boxes are drawn at their coordinates, at the given image size."""

import numpy as np
import pytest
from PIL import Image

from x2vlm.inference.draw_boxes import BoxAnnotation, draw_boxes, frame_strip

GREY = np.full((20, 40, 3), 128, dtype=np.uint8)
RED = (255, 0, 0)


def red(image):
    return (np.asarray(image) == RED).all(axis=-1)


def test_small_images_are_enlarged_and_large_ones_shrunk():
    assert draw_boxes(GREY, side=320).size == (320, 160)
    assert draw_boxes(Image.new("L", (1000, 500)), side=320).size == (320, 160)


def test_a_box_is_drawn_along_its_edges_and_nowhere_else():
    lines = red(draw_boxes(GREY, [BoxAnnotation((10, 5, 30, 15), color="red")], side=400))
    rows, columns = np.nonzero(lines)
    assert abs(rows.min() - 50) <= 3
    assert abs(rows.max() - 150) <= 3
    assert abs(columns.min() - 100) <= 3
    assert abs(columns.max() - 300) <= 3
    assert not lines[60:140, 110:290].any()


def test_a_dashed_box_has_gaps_and_keeps_its_corners():
    solid, dashed = (
        red(draw_boxes(GREY, [BoxAnnotation((10, 5, 30, 15), color="red", dashed=d)], 400)) for d in (False, True)
    )
    assert 0.3 < dashed.sum() / solid.sum() < 0.8
    assert dashed[48:53, 98:103].any()
    assert dashed[148:153, 298:303].any()


def test_a_box_that_reaches_outside_is_clipped_at_the_edge():
    lines = red(draw_boxes(GREY, [BoxAnnotation((-50, -50, 500, 500), color="red")], side=400))
    assert lines[:4].any()
    assert lines[-4:].any()


@pytest.mark.parametrize("corner", [(0, 0), (38, 0), (0, 18), (38, 18)])
def test_a_label_is_readable_in_every_corner(corner):
    x, y = corner
    box = BoxAnnotation((x, y, x + 2, y + 2), color="red")
    bare = red(draw_boxes(GREY, [box], side=400)).sum()
    labelled = red(draw_boxes(GREY, [BoxAnnotation(box.xyxy_px, "thing", "red")], side=400)).sum()
    assert labelled > bare + 300  # the background of the label is inside the image


def test_labels_of_boxes_in_one_place_do_not_cover_each_other():
    def red_pixels(label, *other_colors):
        boxes = [BoxAnnotation((10, 5, 30, 15), label, color) for color in ("red", *other_colors)]
        return red(draw_boxes(GREY, boxes, side=400)).sum()

    alone = red_pixels("thing") - red_pixels("")  # without the lines, which later boxes cover
    assert alone > 300
    assert red_pixels("thing", "green", "blue") > 0.9 * alone


def test_a_box_without_extent_is_still_drawn():
    assert red(draw_boxes(GREY, [BoxAnnotation((10, 10, 10, 10), color="red")], side=400)).any()


def test_a_frame_strip_shows_frames_side_by_side():
    strip = frame_strip([GREY, GREY, GREY], side=100, gap=10)
    assert strip.size == (320, 50)
