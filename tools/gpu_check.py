"""Everything that needs a GPU, in six minutes: ``python tools/gpu_check.py [--minutes 6] [--out FOLDER]``.

Tests, parity, benchmarks beside their targets, and the demo in bf16, fp16, with NCCL and sharded; each section in a
process of its own. Sections do not affect one another. The table is written to FOLDER/gpu_check.md and
FOLDER/gpu_check.json, the output of each section into a folder of its own. Exit status: 1 if a section failed, 0 if all
passed or were skipped; a missed target is listed in the table, and fails nothing.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from x2vlm.benchmark.gpu_check.gpu_report import FAILED, format_table, probe_machine, run_all, write_report
from x2vlm.benchmark.gpu_check.gpu_sections import limits, select_sections, skip_reason

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sections, or list them; returns the exit status."""
    args = _parse(argv)
    machine = probe_machine()
    if args.plan:
        _plan(args, machine)
        return 0
    results = run_all(args.only, 60 * args.minutes, (ROOT, args.out), machine, _write)
    write_report(results, machine, args.out)
    _write("\n" + format_table(results, machine) + f"\nWritten to {args.out / 'gpu_check.md'} and .json.")
    return int(any(result.outcome == FAILED for result in results))


def _plan(args: argparse.Namespace, machine: dict) -> None:
    shares = [section.share for section in args.only]
    for section, seconds in zip(args.only, limits(shares, 60 * args.minutes), strict=True):
        reason = skip_reason(section, machine)
        _write(f"{section.name:>14} {seconds:4.0f} s  {section.what}{f' (skipped: {reason})' if reason else ''}")
        for name, target in section.targets.items():
            _write(f"{'':>21}  {name} {target}")


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="gpu_check.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=6.0, metavar="N", help="for everything (default: 6)")
    parser.add_argument("--out", type=Path, default=Path("work_dirs/gpu_check"), metavar="FOLDER", help="for results")
    parser.add_argument("--only", metavar="A,B", help="only these sections, with all of the time")
    parser.add_argument("--plan", action="store_true", help="list sections, their seconds and targets; run nothing")
    args = parser.parse_args(argv)
    if args.minutes <= 0:
        parser.error(f"--minutes is {args.minutes:g}; expected more than 0")
    try:
        args.only = select_sections(args.only.split(",") if args.only else None)
    except ValueError as error:
        parser.error(str(error))
    return args


if __name__ == "__main__":
    sys.exit(main())
