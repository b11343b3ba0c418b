"""Ablations: several configs with several seeds, each run in a folder of its own, and a table of their metrics.

Finished runs are not repeated, interrupted ones are resumed, failed ones are named and do not stop the others.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.commands.shared.ablation_run import AblationConfig, AblationRun, perform
from x2vlm.commands.shared.ablation_table import Result, metric_names, plot, summarise, to_csv, to_markdown, varying
from x2vlm.config import add_cfg_options, load_config
from x2vlm.run_name import run_name

Records = dict[str, dict[int, dict[str, Any]]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run an ablation from the command line; 0 if every run finished, 1 if some failed."""
    args = _parse(argv)
    configs = unique_names([*([args.base] if args.base else []), *args.configs])
    base = next(iter(configs))
    plans = {name: plan(file, args.cfg_options) for name, file in configs.items()}
    runs = [  # all configs with one seed before the next seed, so that there is a first table early
        (name, AblationRun(plans[name], seed, args.work_dir / name / f"seed{seed}"))
        for seed in range(args.seeds)
        for name in configs
    ]
    if args.work_dir.exists() and not args.work_dir.is_dir():
        raise ConfigError(f"--work-dir {args.work_dir} is a file, but a folder is needed: every run gets one in it.")
    for _, run in runs:
        run.recorded()  # reports a folder that is in use now, and not after hours
    try:
        records = perform_all(runs, base, args.work_dir, args.metrics)
    except KeyboardInterrupt:
        _write("interrupted; the same command resumes here")
        return 130
    _write(f"written to {args.work_dir}: table.md, table.csv, runs.json, plot.png")
    return int(any(record["status"] == "failed" for runs in records.values() for record in runs.values()))


def perform_all(
    runs: Sequence[tuple[str, AblationRun]], base: str, folder: Path, metrics: Sequence[str] = ()
) -> Records:
    """Perform all runs, one after the other; the report is rewritten after each."""
    records: Records = {name: {} for name, _ in runs}
    for number, (name, run) in enumerate(runs, start=1):
        _write(f"run {number} of {len(runs)}: {name}, seed {run.seed}")
        records[name][run.seed] = perform(run, _write)
        measured = write_report(records, base, folder, metrics)
        if unknown := [metric for metric in metrics if metric not in measured]:
            _write(
                f"  --metrics: not measured: {', '.join(unknown)}. There are: {', '.join(measured) or 'none so far'}."
            )
    return records


def write_report(records: Records, base: str, folder: Path, metrics: Sequence[str] = ()) -> list[str]:
    """Write ``table.md``, ``table.csv``, ``runs.json`` and ``plot.png`` of all runs so far.

    Args:
        records: The record of each run, by config and seed.
        base: The config that the others are compared with.
        folder: Where to write.
        metrics: Metrics of ``table.md`` and the plot; if none are named, those that differ between runs. The other
            files hold all.

    Returns:
        The names of all metrics.
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
    selected = [cell for cell in cells if cell.metric in (metrics or varying(result))]
    (folder / "runs.json").write_text(json.dumps(records, indent=2) + "\n")
    (folder / "table.csv").write_text(to_csv(cells))
    (folder / "table.md").write_text(to_markdown(selected, base, failures))
    if selected:
        plot(selected, result, base, folder / "plot.png")
    return metric_names(result)


def unique_names(configs: Sequence[str | Path]) -> dict[str, Path]:
    """Configs by the names of their runs, in order; a repeated file is used once.

    Raises:
        ConfigError: If two files have the same name.
    """
    by_name: dict[str, Path] = {}
    for config in map(Path, configs):
        name = run_name(config)
        other = by_name.setdefault(name, config)
        if other.resolve() != config.resolve():
            raise ConfigError(f"{other} and {config} would share the name '{name}'. Rename one of them.")
    return by_name


def plan(config: Path, options: Sequence[str]) -> AblationConfig:
    """Load and check a config of an ablation.

    Raises:
        ConfigError: If the config is invalid, or evaluates nothing.
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
    return AblationConfig(
        config, tuple(options), cfg.train_cfg.max_iters, hashlib.sha256(text.encode()).hexdigest()[:16]
    )


def _write(text: str) -> None:
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
