"""``train``: train a config, from the beginning or resuming an earlier run."""

import argparse
import shlex
import signal
import sys
from collections.abc import Sequence
from typing import Any

from x2vlm.commands.shared.outcome import Outcome, leave_processes
from x2vlm.config import add_cfg_options, load_config


def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns the exit status.

    0: trained to the end. 1: stopped by an error. 2: not started, because of the config or the data. 130, 143: stopped
    by SIGINT (Ctrl-C) or SIGTERM, with a checkpoint to resume from.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    args = _parse(given)
    outcome = Outcome()
    runner = outcome.runner = outcome.prepare(lambda: prepare(args))
    outcome.run(lambda: runner.train())
    if not outcome.status:
        _report_end(outcome, runner, resume_command(args, given, runner.work_dir))
    if runner is not None:
        leave_processes()
    return outcome.status


def prepare(args: argparse.Namespace) -> Any:
    """Read the config and build the runner with its streams and evaluations."""
    cfg = load_config(args.config, args.cfg_options)
    from x2vlm.engine import build_runner  # imports torch, which an error in the config need not wait for

    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    if args.launcher is not None:
        cfg.launcher = args.launcher
    if args.amp is not None:
        cfg.optim_wrapper.precision = args.amp
    if args.resume is not None:
        cfg.resume = args.resume
    runner = build_runner(cfg)
    _ = runner.train_loop, runner.val_loop  # built now, so that missing data is reported before the first step
    return runner


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm train", description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("--work-dir", help="where checkpoints and logs go (default: work_dirs/NAME_OF_CONFIG)")
    parser.add_argument(
        "--resume",
        nargs="?",
        const=True,
        metavar="CHECKPOINT",
        help="resume from a checkpoint (default: the latest of the work folder; without one, start a new run)",
    )
    parser.add_argument(
        "--amp", nargs="?", const="bf16", choices=("bf16", "fp16"), help="mixed precision (bf16 if none is named)"
    )
    parser.add_argument(
        "--launcher",
        choices=("none", "pytorch", "slurm"),
        help="'pytorch' for processes that torchrun started (default: noticed by itself), 'slurm' for those of srun",
    )
    add_cfg_options(parser)
    return parser.parse_args(argv)


def resume_command(args: argparse.Namespace, given: Sequence[str], work_dir: str) -> str:
    """The command that goes on with a run that was started with these arguments, its changes of the config included."""
    command, is_option = ["x2vlm", "train", args.config, "--work-dir", str(work_dir), "--resume"], False
    for name in ("amp", "launcher"):
        command += [f"--{name}", getattr(args, name)] if getattr(args, name) else []
    for argument in given:  # as they were typed: what was parsed has no text any more
        is_option = argument.startswith("--cfg-options") or (is_option and not argument.startswith("--"))
        command += [argument] if is_option else []
    return shlex.join(command)


def _report_end(outcome: Outcome, runner: Any, command: str) -> None:
    from x2vlm.engine.hooks.hook_lookup import find_hook
    from x2vlm.engine.hooks.stop_hook import StopHook

    stop = find_hook(runner, StopHook)
    if stop is None or stop.signal is None:
        runner.logger.info(f"Trained {runner.iter} iterations. Everything is in {runner.work_dir}.")
        return
    name = signal.Signals(stop.signal).name
    saved = f"{stop.saved} is saved" if stop.saved else "nothing is saved, as the config has no checkpoint hook"
    outcome.end(
        128 + stop.signal,
        f"{name}: stopped after {runner.iter} of {runner.max_iters} iterations; {saved}. Go on with: {command}",
    )
