"""Ablations: every config with every seed, each run in a folder of its own, and a table of what they found.

A run that is done is not done again, an interrupted one goes on, one that fails is named and does not stop the others.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import x2vlm
from x2vlm.building import ConfigError
from x2vlm.commands.ablation_table import Result, metric_names, plot, summarise, to_csv, to_markdown, varying
from x2vlm.config import add_cfg_options, load_config
from x2vlm.run_name import run_name

RECORD = "ablation.json"  # in a run's folder: what was asked for, and what came of it
LOG = "ablation.log"

Records = dict[str, dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class Plan:
    """A config that is to be run with several seeds.

    Attributes:
        config: Its file.
        options: ``key=value`` changes, the same in all configs.
        max_iters: Iterations of a run.
        fingerprint: Changes when the config does, bases and options included.
    """

    config: Path
    options: tuple[str, ...]
    max_iters: int
    fingerprint: str


@dataclass(frozen=True)
class Run:
    """A config with one seed, in a folder of its own."""

    plan: Plan
    seed: int
    folder: Path

    def command(self, name: str, *arguments: str) -> list[str]:
        """``x2vlm <name>`` for this run."""
        options = ["--cfg-options", f"randomness.seed={self.seed}", *self.plan.options]
        words = [name, str(self.plan.config), *arguments, "--work-dir", str(self.folder), *options]
        return [sys.executable, "-m", "x2vlm.cli", *words]

    def recorded(self) -> dict[str, Any]:
        """What an earlier call left about this run; ``{}`` if nothing was begun.

        Raises:
            ConfigError: If the folder holds something else.
        """
        file = self.folder / RECORD
        record = json.loads(file.read_text()) if file.is_file() else {}
        taken = self.folder.is_dir() and any(self.folder.iterdir())
        if taken and record.get("fingerprint") != self.plan.fingerprint:
            what = (
                f"a run of another version of {self.plan.config}, or of other options" if record else "something else"
            )
            raise ConfigError(f"{self.folder} holds {what}. Give another --work-dir, or move that folder away.")
        return record

    def write(self, **outcome: Any) -> dict[str, Any]:
        """Keep what came of it."""
        asked = {"config": str(self.plan.config), "seed": self.seed, "options": self.plan.options}
        record = asked | {"fingerprint": self.plan.fingerprint} | outcome
        (self.folder / RECORD).write_text(json.dumps(record, indent=2) + "\n")
        return record

    def metrics(self) -> dict[str, float] | None:
        """What was measured after the last iteration; None if that was not reached."""
        file = self.folder / "metrics.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        last = [line["metrics"] for line in lines if line["iter"] >= self.plan.max_iters]
        return last[-1] if last else None


def main(argv: Sequence[str] | None = None) -> int:
    """Run an ablation from the command line; 0 if every run ended well, 1 if some failed."""
    args = _parse(argv)
    configs = unique_names([*([args.base] if args.base else []), *args.configs])
    base = next(iter(configs))
    plans = {name: plan(file, args.cfg_options) for name, file in configs.items()}
    runs = [  # all configs with one seed before the next seed: a first table comes early
        (name, Run(plans[name], seed, args.work_dir / name / f"seed{seed}"))
        for seed in range(args.seeds)
        for name in configs
    ]
    for _, run in runs:
        run.recorded()  # a folder that is taken is told now, not after hours
    try:
        records = perform_all(runs, base, args.work_dir, args.metrics)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        return 130
    _say(f"written to {args.work_dir}: table.md, table.csv, runs.json, plot.png")
    return int(any(record["status"] == "failed" for named in records.values() for record in named.values()))


def perform_all(runs: Sequence[tuple[str, Run]], base: str, folder: Path, shown: Sequence[str] = ()) -> Records:
    """All runs, one after the other; the report is written anew after each."""
    records: Records = {name: {} for name, _ in runs}
    for number, (name, run) in enumerate(runs, start=1):
        _say(f"run {number} of {len(runs)}: {name}, seed {run.seed}")
        records[name][run.seed] = perform(run)
        measured = write_report(records, base, folder, shown)
        if unknown := [metric for metric in shown if metric not in measured]:
            _say(f"  --metrics: not measured: {', '.join(unknown)}. There are: {', '.join(measured) or 'none so far'}.")
    return records


def perform(run: Run) -> dict[str, Any]:
    """The record of a run, which is done now unless it was done before."""
    record = run.recorded()
    if record.get("status") == "finished":
        _say("  done before")
        return record
    run.folder.mkdir(parents=True, exist_ok=True)
    run.write(status="started")
    start = time.perf_counter()
    failure = _train(run)
    seconds = round(time.perf_counter() - start, 1)
    if failure:
        _say(f"  failed: {failure}")
        return run.write(status="failed", reason=failure, seconds=seconds)
    _say(f"  finished in {seconds} s")
    return run.write(status="finished", metrics=run.metrics(), seconds=seconds)


def _train(run: Run) -> str | None:
    """Train, or go on where an earlier call ended (it may lack the last evaluation only); why it failed, or None."""
    log = run.folder / LOG
    code = _call(run.command("train", "--resume"), log)
    if code == 0 and run.metrics() is not None:
        return None
    return f"{last_line(log)} (all of it: {log})"


def _call(command: Sequence[str], log: Path) -> int:
    """Run a command with its output appended to a file; at Ctrl-C, wait until it has saved its state."""
    root = str(Path(x2vlm.__file__).resolve().parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with (
        log.open("a") as output,
        subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment) as process,
    ):
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()
            raise


def last_line(file: Path) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "it ended without a word"


def write_report(records: Records, base: str, folder: Path, shown: Sequence[str] = ()) -> list[str]:
    """Write ``table.md``, ``table.csv``, ``runs.json`` and ``plot.png`` of all runs so far.

    Args:
        records: What became of each run, by config and seed.
        base: What the others are compared with.
        folder: Where to write.
        shown: Metrics of ``table.md`` and the plot; if none are named, those that are not the same in all runs. The
            other files always hold all.

    Returns:
        The names of all metrics that were measured.
    """
    result: Result = {
        name: {seed: record["metrics"] for seed, record in runs.items() if record["status"] == "finished"}
        for name, runs in records.items()
    }
    failures = {
        name: {seed: record["reason"] for seed, record in runs.items() if record["status"] == "failed"}
        for name, runs in records.items()
    }
    cells = summarise(result, base)
    chosen = [cell for cell in cells if cell.metric in (shown or varying(result))]
    (folder / "runs.json").write_text(json.dumps(records, indent=2) + "\n")
    (folder / "table.csv").write_text(to_csv(cells))
    (folder / "table.md").write_text(to_markdown(chosen, base, failures))
    if chosen:
        plot(chosen, result, base, folder / "plot.png")
    return metric_names(result)


def unique_names(configs: Sequence[str | Path]) -> dict[str, Path]:
    """Configs by the names of their runs, in order; the same file twice counts once.

    Raises:
        ConfigError: If two files have the same name.
    """
    named: dict[str, Path] = {}
    for config in map(Path, configs):
        name = run_name(config)
        other = named.setdefault(name, config)
        if other.resolve() != config.resolve():
            raise ConfigError(f"{other} and {config} would share the name '{name}'. Rename one of them.")
    return named


def plan(config: Path, options: Sequence[str]) -> Plan:
    """What there is to do for a config; all of it is checked.

    Raises:
        ConfigError: If the config cannot work, or measures nothing.
    """
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    cfg = load_config(config, parser.parse_args(["--cfg-options", *options] if options else []).cfg_options)
    for key in ("evaluations", "train_cfg"):
        if not cfg.get(key):
            raise ConfigError(f"{config} has no {key}, so there is nothing to compare.")
    if not cfg.train_cfg.get("max_iters"):
        raise ConfigError(f"{config} counts epochs; ablations need the iterations of a run: train_cfg.max_iters=...")
    text = json.dumps(cfg.to_dict(), sort_keys=True, default=str)
    return Plan(config, tuple(options), cfg.train_cfg.max_iters, hashlib.sha256(text.encode()).hexdigest()[:16])


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm ablate", description=__doc__)
    parser.add_argument("configs", nargs="+", type=Path, help="config files; without --base, the first is the base")
    parser.add_argument("--base", type=Path, help="the config that the others are compared with")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds, 0, 1, ... (default 3)")
    parser.add_argument("--work-dir", type=Path, default=Path("work_dirs/ablation"), help="default work_dirs/ablation")
    parser.add_argument("--metrics", nargs="+", default=[], help="metrics of table.md and the plot")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="changes of every config")
    args = parser.parse_args(argv)
    if args.seeds < 1:
        parser.error("--seeds must be at least 1")
    return args
