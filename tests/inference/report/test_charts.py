"""Charts contain their points, at coordinates that fit the axes."""

import math
import re
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from x2vlm.inference.report.charts import Chart, Curve, format_tick, smooth, subsample, ticks

LOSS = Curve("image", [(0, 4.0), (100, 2.0), (200, 1.0)])


def parsed(chart):
    return ElementTree.fromstring(str(chart.svg()))


def coordinates(path):
    return [tuple(map(float, pair.split())) for pair in path.get("d")[1:].split("L")]


def test_a_falling_loss_is_a_falling_line_inside_the_image():
    svg = parsed(Chart("Loss", [LOSS], y_label="loss"))
    (line,) = [path for path in svg.iter("path") if path.get("class") == "main"]
    xs, ys = zip(*coordinates(line), strict=True)
    assert list(xs) == sorted(xs)
    assert list(ys) == sorted(ys)  # y grows downwards
    width, height = map(float, svg.get("viewBox").split()[2:])
    assert 0 < min(xs) <= max(xs) < width
    assert 0 < min(ys) <= max(ys) < height


def test_axes_are_labelled_and_the_description_gives_first_and_last_value():
    svg = parsed(Chart("Loss", [LOSS], x_label="iteration", y_label="nats"))
    texts = [text.text for text in svg.iter("text")]
    assert {"iteration", "nats", "0", "4", "200"} <= set(texts)
    assert svg.get("aria-label") == "Loss: image from 4 to 1"


def test_values_that_are_not_finite_are_left_out():
    svg = parsed(Chart("Loss", [Curve("image", [(0, math.nan), (1, 2.0), (2, math.inf), (3, 1.0)])]))
    (line,) = [path for path in svg.iter("path") if path.get("class") == "main"]
    assert len(coordinates(line)) == 2


def test_a_single_point_is_a_dot():
    assert len(list(parsed(Chart("Recall", [Curve("image", [(10, 50.0)])])).iter("circle"))) == 1


def test_a_chart_without_points_is_empty():
    assert Chart("Loss", [Curve("image", [])]).svg() == ""


def test_names_are_escaped():
    svg = Chart("<b>", [Curve('"><script>', LOSS.points)], y_label="<i>").svg()
    assert not re.search("<b>|<i>|<script>", svg)
    ElementTree.fromstring(str(svg))


def test_values_outside_a_given_range_are_clipped():
    svg = parsed(Chart("Loss", [Curve("image", [(0, 500.0), (1, 1.0)])], y_range=(0, 10)))
    (line,) = [path for path in svg.iter("path") if path.get("class") == "main"]
    assert min(y for _, y in coordinates(line)) >= 20


@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), count=st.integers(2, 8))
def test_ticks_are_few_even_and_enclose_the_data(low, span, count):
    high = low + span
    values = ticks(low, high, count)
    assert values[0] <= low + 1e-6 * span
    assert values[-1] >= high - 1e-6 * span
    assert 2 <= len(values) <= count + 3


def test_ticks_are_round():
    assert ticks(0, 100, 5) == [0, 20, 40, 60, 80, 100]
    assert ticks(0, 0.9, 5) == [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(3, 3, 5)[0] < 3 < ticks(3, 3, 5)[-1]


def test_smoothing_keeps_a_straight_line_and_flattens_a_zigzag():
    line = [(float(i), 2.0 * i) for i in range(20)]
    assert smooth(line, 5)[2:-2] == line[2:-2]
    zigzag = smooth([(i, float(i % 2)) for i in range(100)], 11)
    assert max(abs(y - 0.5) for _, y in zigzag[10:-10]) < 0.1
    assert smooth(line, 1) == line


@given(length=st.integers(1, 500), max_points=st.integers(1, 100))
def test_subsampling_keeps_the_order_and_the_last_point(length, max_points):
    points = [(float(i), 0.0) for i in range(length)]
    kept = subsample(points, max_points)
    assert len(kept) <= max_points
    assert kept == sorted(kept)
    assert kept[-1] == points[-1]


def test_labels_are_short():
    assert [format_tick(number) for number in (0.0, 1500.0, 0.25, 0.0005, 2.5e-5)] == [
        "0",
        "1,500",
        "0.25",
        "5e-4",
        "2.5e-5",
    ]
