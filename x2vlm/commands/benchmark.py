"""``benchmark``: time and memory of the library against the reference path, which computes as the published code does.

Both sides do the same work with the same weights in the same run, in turns. ``all`` is the whole table, and ``growth``
measures how the seconds grow with the size of the input. docs/performance.md lists the workloads and the results.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

NAMES = ("train-step", "training", "video-step", "rerank", "encode", "answer", "caption", "data", "end-to-end")
_STEPS = ("train-step", "video-step")
_COMPUTED = tuple(name for name in NAMES if name != "data")
# The workloads that an option applies to; the other options apply to all.
_FITS = {
    "pairs": ("train-step", "training", "end-to-end"),
    "queries": ("rerank", "all"),
    "precision": (*_COMPUTED, "all"),
    "device": (*_COMPUTED, "all"),
    "batches": ("training",),
    "compile": (*_STEPS, "training"),
    "parts": (*_STEPS, "all"),
    "works": ("all", "growth"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; returns the exit status."""
    args = _parse(argv)
    import torch

    from x2vlm.benchmark.comparison.comparison_table import new_figure
    from x2vlm.benchmark.timing.device_precision import check_device
    from x2vlm.engine.cpu_allocator import keep_freed_memory

    check_device(args.device or "cpu", args.precision or "fp32")
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed_memory()  # for both sides, as in training
    if args.picture:
        new_figure(1, 1)  # fails here if matplotlib is missing
    report = (measure_growth if args.work == "growth" else measure)(args, torch.get_num_threads())
    if args.json:
        _write(json.dumps(report) + "\n")
    return 0


def measure(args: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Time and memory of the chosen workloads on both sides; each row is printed as soon as it is measured.

    ``ratio`` is that of the slowest row against the reference path, ``seconds`` and ``peak_memory`` (bytes) are the
    library's: all rows together, and the largest.
    """
    import torch

    from x2vlm.benchmark.comparison.compare import rates, rows_of
    from x2vlm.benchmark.comparison.comparison_table import draw_table, format_head, format_row

    device = args.device or "cpu"
    card = torch.cuda.get_device_name() if device == "cuda" else ""
    cases = _cases(args)
    matmul, rows = rates(args.size, device, [case.precision for case in cases]), []
    _write(format_head(args.size, threads, args.repeats, matmul, device, card))
    for case in cases:
        for row in rows_of(case, args.repeats, args.parts):
            rows.append(row)
            _write(format_row(row, matmul))
            if args.picture:
                draw_table(rows, args.picture)
    return {
        "work": args.work,
        "size": args.size,
        "device": device,
        "card": card,
        "torch": torch.__version__,
        "ratio": min(row["ratio"] for row in rows),
        "seconds": sum(row["library"]["median"] for row in rows),
        "peak_memory": max(row["library"]["peak_memory"] for row in rows),
        "threads": threads,
        "repeats": args.repeats,
        "matmul": matmul,
        "rows": rows,
    }


def _cases(args: argparse.Namespace) -> list[Any]:
    from x2vlm.benchmark.timing.device_precision import has_bf16_products
    from x2vlm.benchmark.workloads.workload_cases import ALL, Case

    options = {"precision": args.precision or Case.precision, "device": args.device or Case.device}
    if args.work == "all":
        template = Case("", args.size, queries=args.queries, **options)
        names = args.works or ALL
        if not args.works and args.size == "base" and template.device == "cpu" and not has_bf16_products():
            _write("train-step-bf16 is left out (--works can name it): this processor is slow at bf16.\n")
            names = [name for name in names if name != "train-step-bf16"]
        cases = [template.named(name) for name in names]
        return list(dict.fromkeys(cases))  # in bf16 there is one step of bf16, not two
    pairs = args.pairs or Case.pairs
    return [Case(args.work, args.size, pairs, args.queries, compiled=args.compile, batches=args.batches, **options)]


def measure_growth(args: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Points and slopes of every axis; each point is printed as soon as it is measured."""
    from x2vlm.benchmark.growth.growth_axes import AXES, axes, curve_slopes, measure
    from x2vlm.benchmark.growth.growth_table import draw_axis, format_point, format_slopes

    axes_by_name, report = axes(args.size), {}
    for name in args.works or AXES:
        axis, points = axes_by_name[name], []
        _write(f"{name}: {axis.label}; seconds of {axis.what}\n")
        for at, seconds in measure(axis, args.size, args.repeats, threads):
            points.append((at, seconds))
            _write(format_point(at, seconds))
        fitted = curve_slopes(points)
        _write(format_slopes(fitted))
        if args.picture:
            draw_axis(name, axis, points, fitted, Path(args.picture) / f"{name}.png")
        report[name] = {
            "label": axis.label,
            "what": axis.what,
            "points": [{"at": at, "seconds": seconds} for at, seconds in points],
            "slopes": fitted,
        }
    return {"work": "growth", "size": args.size, "threads": threads, "repeats": args.repeats, "axes": report}


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=(*NAMES, "all", "growth"), help="the workload")
    parser.add_argument("--size", choices=("tiny", "base"), default="base", help="of the model (default: base)")
    parser.add_argument("--repeats", type=_count, metavar="N", help="repetitions (default: 3; of growth: 2)")
    parser.add_argument("--threads", type=_count, metavar="N", help="of torch (default: its own choice)")
    parser.add_argument(
        "--pairs", type=_count, metavar="N", help="captions, and regions, of a training step (default: 8)"
    )
    parser.add_argument(
        "--queries", type=_count, metavar="N", help="images, and texts, whose candidates are ranked (default: 8)"
    )
    parser.add_argument(
        "--batches",
        type=_batches,
        metavar="N",
        help="different steps of `training` (default: 20; on a CPU at base size: 6)",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="where both sides compute (default: cpu)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "tf32", "bf16", "fp16"),
        help="of both sides (default: fp32); tf32 and fp16 need a GPU",
    )
    parser.add_argument(
        "--compile", action="store_true", help="let the library compile the blocks of its towers in a training step"
    )
    parser.add_argument(
        "--works", type=_listed, metavar="A,B", help="only these workloads of `all`, or axes of `growth`"
    )
    parser.add_argument("--parts", action="store_true", help="also measure the shares of the parts of a training step")
    parser.add_argument("--picture", metavar="PATH", help="draw the table into a file; growth: plots into a folder")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object with all of it")
    args = parser.parse_args(argv)
    for option, commands in _FITS.items():
        if getattr(args, option) and args.work not in commands:
            parser.error(f"--{option} is for {', '.join(commands)}, not for {args.work}")
    args.repeats = args.repeats or (2 if args.work == "growth" else 3)
    _check_works(parser, args)
    return args


def _check_works(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.works:
        return
    from x2vlm.benchmark.growth.growth_axes import AXES
    from x2vlm.benchmark.workloads.workload_cases import ALL

    names = ALL if args.work == "all" else AXES
    for name in args.works:
        if name not in names:
            parser.error(f"--works: {args.work} has no '{name}'. It has: {', '.join(names)}")


def _count(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word} is no count from 1")
    return number


def _batches(word: str) -> int:
    number = _count(word)
    if number < 2:
        raise argparse.ArgumentTypeError(f"{word} is too few: the first step is not counted. Give 2 or more")
    return number


def _listed(words: str) -> list[str]:
    return [word for word in words.split(",") if word]
