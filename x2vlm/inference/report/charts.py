"""Line charts as SVG, coloured by the CSS variables of the page, which has a light and a dark theme."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

Point = tuple[float, float]

COLORS = 6  # the page defines --c0 ... --c5
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 22, 40  # margins of the plot, for labels


@dataclass(frozen=True)
class Curve:
    """A curve of a chart.

    Attributes:
        name: Its label in the legend; empty for none.
        points: (x, y), by ascending x; points that are not finite are left out.
        color: Number of the page's colour, 0 to 5.
        raw: The points before smoothing, drawn faintly.
        dashed: Dashed, as for baselines.
    """

    name: str
    points: Sequence[Point]
    color: int = 0
    raw: Sequence[Point] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """A line chart.

    Attributes:
        title: Title.
        lines: The curves.
        x_label: Label of the x axis.
        y_label: Label of the y axis, at its upper end.
        y_range: Smallest and largest y; None: from the data.
    """

    title: str
    lines: Sequence[Curve] = field(default_factory=list)
    x_label: str = "iteration"
    y_label: str = ""
    y_range: tuple[float, float] | None = None

    def svg(self, width: int = 340, height: int = 220) -> Markup:
        """The chart without title and legend, which the page renders as HTML."""
        curves = [(line, _finite(line.points), _finite(line.raw)) for line in self.lines]
        visible = [point for _, points, raw in curves for point in [*points, *raw]]
        if not visible:
            return Markup("")
        xs = [x for x, _ in visible]
        xticks = ticks(min(xs), max(xs), 5)
        yticks = ticks(*(self.y_range or (min(0.0, *(y for _, y in visible)), max(y for _, y in visible))), 5)
        axes = _Axes(width, height, (min(xs), max(xs)), (yticks[0], yticks[-1]))
        elements = [*axes.grid(xticks, yticks), *axes.labels(self.x_label, self.y_label)]
        elements += [axes.curve(raw, line.color, "raw") for line, _, raw in curves if raw]
        elements += [
            axes.curve(points, line.color, "dash" if line.dashed else "main") for line, points, _ in curves if points
        ]
        head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(self._description(curves))}">'
        return Markup(head + "".join(elements) + "</svg>")

    def _description(self, curves: Sequence[tuple[Curve, list[Point], list[Point]]]) -> str:
        ends = [f"{line.name} from {p[0][1]:.3g} to {p[-1][1]:.3g}".strip() for line, p, _ in curves if p]
        return f"{self.title}: {', '.join(ends)}"


class _Axes:
    """Mapping from data to SVG coordinates, and the elements drawn there."""

    def __init__(self, width: int, height: int, x_range: Point, y_range: Point) -> None:
        self.width, self.height, self.x_range, self.y_range = width, height, x_range, y_range

    def x(self, value: float) -> float:
        low, high = self.x_range
        share = (value - low) / (high - low) if high > low else 0.5
        return round(_LEFT + share * (self.width - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self.y_range
        share = (min(max(value, low), high) - low) / (high - low) if high > low else 0.5
        return round(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM), 1)

    def grid(self, xticks: Sequence[float], yticks: Sequence[float]) -> list[str]:
        left, right, bottom = _LEFT, self.width - _RIGHT, self.height - _BOTTOM
        lines = [f'<path class="grid" d="M{left} {self.y(t)}H{right}"/>' for t in yticks]
        lines += [f'<text x="{left - 6}" y="{self.y(t) + 4}" text-anchor="end">{format_tick(t)}</text>' for t in yticks]
        inside = [t for t in xticks if self.x_range[0] <= t <= self.x_range[1]]
        lines += [
            f'<text x="{self.x(t)}" y="{bottom + 16}" text-anchor="middle">{format_tick(t)}</text>' for t in inside
        ]
        return [*lines, f'<path class="axis" d="M{left} {bottom}H{right}"/>']

    def labels(self, x_label: str, y_label: str) -> list[str]:
        middle = (_LEFT + self.width - _RIGHT) / 2
        return [
            f'<text class="label" x="{middle}" y="{self.height - 6}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text class="label" x="4" y="12">{escape(y_label)}</text>',
        ]

    def curve(self, points: Sequence[Point], color: int, kind: str) -> str:
        coordinates = [(self.x(x), self.y(y)) for x, y in points]
        style = f'class="{kind}" style="--c: var(--c{color % COLORS})"'
        if len(coordinates) == 1:
            return f'<circle {style} cx="{coordinates[0][0]}" cy="{coordinates[0][1]}" r="3.5"/>'
        return f'<path {style} d="M{"L".join(f"{x} {y}" for x, y in coordinates)}"/>'


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Moving average over ``window`` points, fewer at the ends; every point keeps its x."""
    ys, half = [y for _, y in points], window // 2
    windows = [ys[max(0, i - half) : i + half + 1] for i in range(len(ys))]
    return [(x, sum(values) / len(values)) for (x, _), values in zip(points, windows, strict=True)]


def subsample(points: Sequence[Point], max_points: int) -> list[Point]:
    """At most about ``max_points`` of the points, evenly spaced, including the last."""
    step = max(1, math.ceil(len(points) / max_points))
    return list(points[::-1][::step][::-1])


def ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round numbers from just below ``low`` to just above ``high``."""
    if not high > low:
        low, high = low - 0.5, low + 0.5
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, last + 1)]


def format_tick(number: float) -> str:
    """Short label of a number: 1500 is "1,500", 0.25 is "0.25", 0.0005 is "5e-4"."""
    if number == int(number):
        return f"{number:,.0f}"
    if abs(number) >= 0.01:
        return f"{number:g}"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
