"""Line charts as SVG, for a page that brings its own colours: light, dark, narrow or wide."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup, escape

Point = tuple[float, float]

COLORS = 6  # the page defines --c0 ... --c5
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 14, 22, 40  # room around the plot, for labels


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: What the legend says; empty for a curve that is alone and needs none.
        points: (x, y), by ascending x. Those that are not finite are left out.
        color: Number of the page's colour.
        raw: The points before smoothing, drawn faintly behind.
        dashed: Broken, for what is only there to compare with.
    """

    name: str
    points: Sequence[Point]
    color: int = 0
    raw: Sequence[Point] = ()
    dashed: bool = False


@dataclass(frozen=True)
class Chart:
    """Curves with what a reader needs to read them.

    Attributes:
        title: Above the chart.
        lines: The curves.
        x_label: Below the axis.
        y_label: At the upper end of the axis.
        y_range: Lowest and highest y; from the data where not given.
    """

    title: str
    lines: Sequence[Line] = field(default_factory=list)
    x_label: str = "iteration"
    y_label: str = ""
    y_range: tuple[float, float] | None = None

    def svg(self, width: int = 340, height: int = 220) -> Markup:
        """The chart without title and legend, which the page sets in its own type."""
        curves = [(line, _finite(line.points), _finite(line.raw)) for line in self.lines]
        shown = [point for _, points, raw in curves for point in [*points, *raw]]
        if not shown:
            return Markup("")
        xs = [x for x, _ in shown]
        xticks = ticks(min(xs), max(xs), 5)
        yticks = ticks(*(self.y_range or (min(0.0, *(y for _, y in shown)), max(y for _, y in shown))), 5)
        frame = _Frame(width, height, (min(xs), max(xs)), (yticks[0], yticks[-1]))
        parts = [*frame.grid(xticks, yticks), *frame.labels(self.x_label, self.y_label)]
        parts += [frame.curve(raw, line.color, "raw") for line, _, raw in curves if raw]
        parts += [
            frame.curve(points, line.color, "dash" if line.dashed else "main") for line, points, _ in curves if points
        ]
        head = f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(self._in_words(curves))}">'
        return Markup(head + "".join(parts) + "</svg>")

    def _in_words(self, curves: Sequence[tuple[Line, list[Point], list[Point]]]) -> str:
        ends = [f"{line.name} from {p[0][1]:.3g} to {p[-1][1]:.3g}".strip() for line, p, _ in curves if p]
        return f"{self.title}: {', '.join(ends)}"


class _Frame:
    """From data to places on the paper."""

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
        lines += [f'<text x="{left - 6}" y="{self.y(t) + 4}" text-anchor="end">{shown(t)}</text>' for t in yticks]
        inside = [t for t in xticks if self.x_range[0] <= t <= self.x_range[1]]
        lines += [f'<text x="{self.x(t)}" y="{bottom + 16}" text-anchor="middle">{shown(t)}</text>' for t in inside]
        return [*lines, f'<path class="axis" d="M{left} {bottom}H{right}"/>']

    def labels(self, x_label: str, y_label: str) -> list[str]:
        middle = (_LEFT + self.width - _RIGHT) / 2
        return [
            f'<text class="label" x="{middle}" y="{self.height - 6}" text-anchor="middle">{escape(x_label)}</text>',
            f'<text class="label" x="4" y="12">{escape(y_label)}</text>',
        ]

    def curve(self, points: Sequence[Point], color: int, kind: str) -> str:
        places = [(self.x(x), self.y(y)) for x, y in points]
        style = f'class="{kind}" style="--c: var(--c{color % COLORS})"'
        if len(places) == 1:
            return f'<circle {style} cx="{places[0][0]}" cy="{places[0][1]}" r="3.5"/>'
        return f'<path {style} d="M{"L".join(f"{x} {y}" for x, y in places)}"/>'


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Means over ``window`` neighbours, fewer at the ends; every point keeps its x."""
    ys, half = [y for _, y in points], window // 2
    means = [ys[max(0, i - half) : i + half + 1] for i in range(len(ys))]
    return [(x, sum(near) / len(near)) for (x, _), near in zip(points, means, strict=True)]


def thin(points: Sequence[Point], most: int) -> list[Point]:
    """At most about ``most`` of the points, evenly, the last one among them."""
    step = max(1, math.ceil(len(points) / most))
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


def shown(number: float) -> str:
    """A short label: 1500 is "1,500", 0.25 stays, 0.0005 is "5e-4"."""
    if number == int(number):
        return f"{number:,.0f}"
    if abs(number) >= 0.01:
        return f"{number:g}"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _finite(points: Sequence[Point]) -> list[Point]:
    return [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
