"""``test``: run every evaluation of a config on the weights of a checkpoint."""

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from x2vlm.commands.shared.outcome import Outcome, leave_processes
from x2vlm.config import add_cfg_options, load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit status.

    0: finished. 1: stopped by an error. 2: not started, because of the config, the checkpoint or the data.
    """
    args = _parse(argv)
    outcome = Outcome()
    runner = outcome.runner = outcome.prepare(lambda: prepare(args))
    results = outcome.run(lambda: runner.test())
    if runner is not None:
        if results and runner.rank == 0:
            sys.stdout.write(format_metrics(results))
        leave_processes()
    return outcome.status


def prepare(args: argparse.Namespace) -> Any:
    """Read the config and build the runner with its evaluations."""
    cfg = load_config(args.config, args.cfg_options)
    from x2vlm.engine import build_runner  # imports torch, which an error in the config need not wait for

    cfg.load_from = args.checkpoint
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    if args.launcher is not None:
        cfg.launcher = args.launcher
    runner = build_runner(cfg, mode="test")
    _ = runner.test_loop  # built now, so that missing data is reported before the first batch
    return runner


def format_metrics(results: Mapping[str, float]) -> str:
    """Metrics listed under their evaluations, numbers aligned."""
    width = max(len(key) for key in results)
    lines, heading = [], None
    for key, value in results.items():
        evaluation, _, metric = key.partition("/")
        if evaluation != heading:
            lines.append(evaluation)
            heading = evaluation
        lines.append(f"  {metric:<{width}}{value:>12.4f}")
    return "\n".join(lines) + "\n"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm test", description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--work-dir", help="where logs and metrics.jsonl go (default: work_dirs/NAME_OF_CONFIG)")
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        help="'pytorch' for processes that torchrun started (default: noticed by itself), 'slurm' for those of srun",
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)
