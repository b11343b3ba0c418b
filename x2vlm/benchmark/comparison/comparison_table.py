"""Rows of the comparison as lines of text and as a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from x2vlm.building import ConfigError

GIB = 2**30
_COLUMNS = "{:>17} {:>17} {:>22} {:>21} {:>17} {:>23}  {}"


def format_head(
    size: str, threads: int, repeats: int, rates: Mapping[str, Any], device: str = "cpu", card: str = ""
) -> str:
    """Common settings of all rows, and the names of the columns; ``card`` is the name of the GPU."""
    where = card or device
    speeds = " and at ".join(f"{rate / 1e9:.0f} GFLOP/s in {name}" for name, rate in rates.items() if name != "side")
    return (
        f"size {size}, {where}, {threads} threads; median of {repeats} repetitions in turns (greatest minus least); "
        f"'/': library / reference path.\nA product of two {rates['side']}-square matrices runs at "
        f"{speeds} on this {'GPU' if device == 'cuda' else 'machine'}; shares are of these.\n\n"
        + _COLUMNS.format("library s", "reference s", "ratio", "peak GiB", "GFLOP", "GFLOP/s (share)", "what")
        + "\n"
    )


def format_row(row: Mapping[str, Any], rates: Mapping[str, Any]) -> str:
    """One row, and the shares of parts under it."""
    sides = [row["library"], row["reference"]]
    seconds = [f"{side['median']:.4g} ({side['spread']:.0%})" for side in sides]
    ratio = f"{row['ratio']:.2f}x ({row['ratio_least']:.2f}..{row['ratio_greatest']:.2f})"
    memory = " / ".join(f"{side['peak_memory'] / GIB:.2f}" for side in sides) + f" ({row['memory_ratio']:.2f}x)"
    flops = speeds = "-"  # of reading files
    if any(side["flops"] for side in sides):
        flops = " / ".join(f"{side['flops'] / 1e9:.4g}" for side in sides)
        speeds = " / ".join(
            f"{side['flops_per_second'] / 1e9:.0f} ({side['flops_per_second'] / rates[side['precision']]:.0%})"
            for side in sides
        )
    lines = [_COLUMNS.format(*seconds, ratio, memory, flops, speeds, row["name"])]
    for name, side in zip(("library", "reference"), sides, strict=True):
        if "parts" in side:
            shares = ", ".join(f"{part} {share:.0%}" for part, share in side["parts"].items())
            lines.append(f"{name:>17}: {shares}")
        lines += [f"{name:>17}: {more}" for more in (_format_steps(side), _format_gpu(side)) if more]
    return "\n".join(lines) + "\n"


def _format_steps(side: Mapping[str, Any]) -> str:
    if "first" not in side:
        return ""
    text = (
        f"first step {side['first']:.3g} s, slowest {side['greatest']:.3g} s, "
        f"varied / repeated shapes {side['varied_by_repeated']:.2f}"
    )
    if "operators" in side:
        text += (
            f"; {side['operators']:.0f} operators and {side['waits']:.1f} reads that wait in a step; distinct shapes: "
            f"{side['attention_shapes']} of attention, {side['product_shapes']} of products"
        )
    return text


def _format_gpu(side: Mapping[str, Any]) -> str:
    if "gpu" not in side:
        return ""
    gpu = side["gpu"]
    return (
        f"{gpu['kernels']} kernels, {gpu['waits']} waits ({gpu['items']} item, {gpu['nonzeros']} nonzero), "
        f"GPU busy {gpu['busy']:.0%}"
    )


def draw_table(rows: Sequence[Mapping[str, Any]], path: str) -> None:
    """Plot of the table: ratios with their range, seconds and memory of both sides.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    figure = new_figure(12, 1.6 + 0.75 * len(rows))
    ratios, seconds, memory = figure.subplots(1, 3, sharey=True)
    positions = range(len(rows))
    values = [row["ratio"] for row in rows]
    low = [max(0.0, row["ratio"] - row["ratio_least"]) for row in rows]
    high = [max(0.0, row["ratio_greatest"] - row["ratio"]) for row in rows]
    bars = ratios.barh(positions, values, 0.5, xerr=[low, high], color="tab:green", capsize=3)
    ratios.bar_label(bars, fmt="%.2fx", padding=6)
    ratios.axvline(1, color="black", linewidth=0.8, linestyle="--")
    ratios.set_xlabel("times faster than the reference path, with range")
    _both_sides(seconds, rows, "median", 1.0)
    seconds.set_xscale("log")
    seconds.set_xlabel("seconds")
    _both_sides(memory, rows, "peak_memory", 1 / GIB)
    memory.set_xlabel("peak memory, GiB")
    ratios.set_yticks(positions, [fill(row["name"], 34) for row in rows])
    ratios.invert_yaxis()
    for axis in (ratios, memory):
        axis.margins(x=0.25, y=0.02)
    least, greatest = seconds.get_xlim()
    seconds.set_xlim(least / 1.5, greatest * 4)
    figure.legend(*memory.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    save(figure, Path(path))


def _both_sides(axis: Any, rows: Sequence[Mapping[str, Any]], key: str, factor: float) -> None:
    for index, (side, color) in enumerate((("library", "tab:blue"), ("reference", "tab:grey"))):
        heights = [number - 0.2 + 0.4 * index for number in range(len(rows))]
        bars = axis.barh(heights, [factor * row[side][key] for row in rows], 0.38, color=color, label=side)
        axis.bar_label(bars, fmt="%.3g", padding=2)


def new_figure(width: float, height: float) -> Any:
    """An empty figure; inches.

    Raises:
        ConfigError: If matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("a plot needs matplotlib: pip install matplotlib, or leave --picture out.") from error
    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Any, path: Path) -> None:
    """Write a figure to a file; folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
