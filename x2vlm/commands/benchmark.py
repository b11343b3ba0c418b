"""``benchmark``: time and memory of the library against the plain path, which does what the published code does.

Both sides do the same work with the same weights in the same run, in turns. ``all`` is the whole table, and ``growth``
tells how the seconds grow with what is done. docs/performance.md says what is measured and what came out.
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
# What an option is for; the others are for everything.
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

    from x2vlm.benchmark.timing.device_precision import check_device
    from x2vlm.benchmark.timing.timing_table import new_figure
    from x2vlm.engine.allocator import keep_freed_memory

    check_device(args.device or "cpu", args.precision or "fp32")
    if args.threads:
        torch.set_num_threads(args.threads)
    keep_freed_memory()  # for both sides, as in training
    if args.picture:
        new_figure(1, 1)  # tells now if it cannot be drawn
    report = (growth if args.work == "growth" else measure)(args, torch.get_num_threads())
    if args.json:
        _say(json.dumps(report) + "\n")
    return 0


def measure(args: argparse.Namespace, threads: int) -> dict[str, Any]:
    """What the chosen works take on both sides; each row is told as soon as it is there.

    ``ratio`` is that of the slowest row against the plain path, ``seconds`` and ``peak_memory`` (bytes) are the
    library's: all rows together, and the largest.
    """
    import torch

    from x2vlm.benchmark.timing.comparison import rates, rows_of
    from x2vlm.benchmark.timing.timing_table import draw, head, line

    device = args.device or "cpu"
    card = torch.cuda.get_device_name() if device == "cuda" else ""
    matmul, rows = rates(args.size, device), []
    _say(head(args.size, threads, args.repeats, matmul, device, card))
    for case in _cases(args):
        for row in rows_of(case, args.repeats, args.parts):
            rows.append(row)
            _say(line(row, matmul))
            if args.picture:
                draw(rows, args.picture)
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
    from x2vlm.benchmark.works.all_works import ALL, Case

    how = {"precision": args.precision or Case.precision, "device": args.device or Case.device}
    if args.work == "all":
        each = Case("", args.size, queries=args.queries, **how)
        cases = [each.named(name) for name in args.works or ALL]
        return list(dict.fromkeys(cases))  # in bf16 there is one step of bf16, not two
    pairs = args.pairs or Case.pairs
    return [Case(args.work, args.size, pairs, args.queries, compiled=args.compile, batches=args.batches, **how)]


def growth(args: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Points and slopes of every axis; each point is told as soon as it is there."""
    from x2vlm.benchmark.growth.growth_axes import AXES, axes, measure, slopes
    from x2vlm.benchmark.growth.growth_table import draw, line, told_slopes

    known, found = axes(args.size), {}
    for name in args.works or AXES:
        axis, points = known[name], []
        _say(f"{name}: {axis.label}; seconds of {axis.what}\n")
        for at, seconds in measure(axis, args.size, args.repeats, threads):
            points.append((at, seconds))
            _say(line(at, seconds))
        fitted = slopes(points)
        _say(told_slopes(fitted))
        if args.picture:
            draw(name, axis, points, fitted, Path(args.picture) / f"{name}.png")
        found[name] = {
            "label": axis.label,
            "what": axis.what,
            "points": [{"at": at, "seconds": seconds} for at, seconds in points],
            "slopes": fitted,
        }
    return {"work": "growth", "size": args.size, "threads": threads, "repeats": args.repeats, "axes": found}


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="x2vlm benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", choices=(*NAMES, "all", "growth"), help="what is done")
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
    parser.add_argument("--works", type=_listed, metavar="A,B", help="of `all` or `growth` only these")
    parser.add_argument("--parts", action="store_true", help="also tell the shares of the parts of a training step")
    parser.add_argument("--picture", metavar="PATH", help="draw the table into a file; growth: plots into a folder")
    parser.add_argument("--json", action="store_true", help="the last line is one JSON object with all of it")
    args = parser.parse_args(argv)
    for option, works in _FITS.items():
        if getattr(args, option) and args.work not in works:
            parser.error(f"--{option} is for {', '.join(works)}, not for {args.work}")
    args.repeats = args.repeats or (2 if args.work == "growth" else 3)
    _check_works(parser, args)
    return args


def _check_works(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    if not args.works:
        return
    from x2vlm.benchmark.growth.growth_axes import AXES
    from x2vlm.benchmark.works.all_works import ALL

    known = ALL if args.work == "all" else AXES
    for name in args.works:
        if name not in known:
            parser.error(f"--works: {args.work} has no '{name}'. It has: {', '.join(known)}")


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
