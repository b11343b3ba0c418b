"""Growth of cost as lines of text, and as one plot for each axis."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from x2vlm.benchmark.comparison.comparison_table import new_figure, save
from x2vlm.benchmark.growth.growth_axes import Axis

_COLORS = {"library": "tab:blue", "reference": "tab:grey"}


def format_point(at: int, seconds: Mapping[str, float]) -> str:
    """The seconds at one value of an axis."""
    return f"{at:>9}  " + "  ".join(f"{name} {one:.4g} s" for name, one in seconds.items()) + "\n"


def format_slopes(slopes: Mapping[str, float]) -> str:
    """The slopes of an axis, as a line under its points."""
    return f"{'slope':>9}  " + "  ".join(f"{name} {one:.2f}" for name, one in slopes.items()) + "\n"


def draw_axis(
    name: str, axis: Axis, points: Sequence[tuple[int, Mapping[str, float]]], slopes: Mapping[str, float], path: Path
) -> None:
    """Seconds on log-log axes; the slopes are in the title.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    figure = new_figure(6.5, 5)
    plot, values = figure.subplots(), [at for at, _ in points]
    for curve in slopes:
        side, _, of = curve.partition(", ")
        style = {"color": _COLORS.get(side), "linestyle": "--" if of == "encoding" else "-"}
        plot.plot(values, [seconds[curve] for _, seconds in points], marker="o", label=curve, **style)
    plot.set_xscale("log")
    plot.set_yscale("log")
    plot.set_xticks(values, [f"{at:,}" for at in values])
    plot.minorticks_off()
    ticks = _ticks(*plot.get_ylim())
    plot.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    plot.set_xlabel(axis.label)
    plot.set_ylabel(f"seconds, {axis.what}")
    plot.grid(alpha=0.3)
    plot.legend()
    fitted = [f"{curve} {one:.2f}" for curve, one in slopes.items()]
    halves = ["; ".join(fitted[first : first + 2]) for first in range(0, len(fitted), 2)]
    plot.set_title("\n".join([f"{name}: slope on log-log axes", *halves]), fontsize=11)
    save(figure, path)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between these, more of them where they lie close together."""
    digits = (
        (1, 2, 5) if high > 30 * low else (1, 2, 3, 5, 7) if high > 4 * low else (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    )
    return [tick for power in range(-9, 6) for tick in (digit * 10.0**power for digit in digits) if low <= tick <= high]
