"""``demo``: train the toy config, test it on held-out scenes, and write a report page."""

import argparse
import ast
import itertools
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x2vlm.commands import train
from x2vlm.config import add_cfg_options, load_config
from x2vlm.config.shipped import shipped_configs

CONFIG = "configs/demo/toy_pretrain.py"
WORK_DIR = "work_dirs/demo"
UNSEEN = "A small model of the toy world, tested on scenes that were not in its training. All results are in percent."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; returns the exit status, that of the training if it failed."""
    args = _parse(argv)
    config, work_dir = find_config(args.config), unused_folder(args.work_dir)
    cfg = load_config(config, overrides(args.cfg_options))
    _print(f"Training {config} in {work_dir}; at the end, {work_dir / 'report.html'} shows what it learned.\n")
    start = time.perf_counter()
    options = ["--cfg-options", *args.cfg_options] if args.cfg_options else []
    status = train.main([str(config), "--work-dir", str(work_dir), *options])
    if status:
        return status
    seconds = {"training": time.perf_counter() - start}
    texts = {"title": f"What {config.stem} learned", "command": command_line(args)}
    texts |= {"subtitle": UNSEEN} if args.config == CONFIG else {}
    report, results = test_and_report(cfg, work_dir, seconds, **texts)
    _print(summary(report, results, config))
    return 0


def test_and_report(cfg: Any, work_dir: Path, seconds: dict[str, float], **texts: str) -> tuple[Path, dict[str, float]]:
    """Test the last checkpoint of a folder and write ``report.html`` there.

    Args:
        cfg: The config, checked.
        work_dir: The folder.
        seconds: Wall time so far, by stage.
        **texts: ``title``, ``subtitle``, ``command`` of the page.

    Returns:
        The page, and the metrics.
    """
    from x2vlm.data.data_root import with_data_root
    from x2vlm.engine import build_runner, latest_checkpoint
    from x2vlm.inference.preprocessing import preprocessing_of_config
    from x2vlm.inference.report.example_cards import example_cards
    from x2vlm.inference.report.mistakes import evaluation_mistakes
    from x2vlm.inference.report.page import write_report
    from x2vlm.inference.report.run_facts import run_facts

    cfg.work_dir, cfg.load_from = str(work_dir), str(latest_checkpoint(work_dir))
    start = time.perf_counter()
    config_text = cfg.pretty_text  # as it was given
    files = save_predictions(cfg.evaluations, work_dir)
    runner = build_runner(cfg, mode="test")
    results = runner.test()
    seconds = seconds | {"testing": time.perf_counter() - start}
    classes = {name: preprocessing_of_config(cfg, runner.model, name).classes for name in files}
    evaluations = {
        name: {**one, "dataset": with_data_root(one["dataset"], cfg.get("data_root"))}
        for name, one in cfg.evaluations.items()
    }
    confusions, mistakes = evaluation_mistakes(evaluations, files, classes)
    page = write_report(
        work_dir,
        results=results,
        confusions=confusions,
        mistakes=mistakes,
        gallery=example_cards(evaluations, results, runner.model, runner.tokenizer),
        facts=run_facts(runner.model, seconds),
        config=config_text,
        **texts,
    )
    return page, results


def save_predictions(evaluations: Mapping[str, Any], work_dir: Path) -> dict[str, Path]:
    """Let classification and grounding save their predictions; the files, by evaluation."""
    from x2vlm.building import resolve
    from x2vlm.evaluation.tasks.classification_accuracy import ClassificationMetric
    from x2vlm.evaluation.tasks.grounding import GroundingMetric
    from x2vlm.registry import METRICS

    files = {}
    for name, evaluation in evaluations.items():
        kind = resolve(METRICS, evaluation["metric"]["type"])
        if kind in (ClassificationMetric, GroundingMetric):
            files[name] = work_dir / evaluation["metric"].setdefault("save_to", f"predictions/{name}.jsonl")
    return files


def find_config(name: str | Path) -> Path:
    """The config in the current directory, or else the library's own: of the checkout, or as it was installed.

    Raises:
        FileNotFoundError: If it is nowhere.
    """
    shipped = shipped_configs()
    beside = [] if shipped is None else [shipped.parent]
    for folder in (Path(), *beside):
        if (folder / name).is_file():
            return folder / name
    places = " nor in ".join(map(str, (Path.cwd(), *beside)))
    raise FileNotFoundError(f"{name} is neither in {places}. Name a config: x2vlm demo --config FILE.")


def unused_folder(path: str | Path) -> Path:
    """The folder, if it is empty or does not exist, or else the first such one of ``PATH_2``, ``PATH_3``, ..."""
    path = Path(path)
    candidates = itertools.chain([path], (path.with_name(f"{path.name}_{n}") for n in itertools.count(2)))
    return next(
        folder for folder in candidates if not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    )


def overrides(options: Sequence[str]) -> dict[str, Any]:
    """Parse ``["a.b=1"]`` into overrides for ``load_config``."""
    if not options:
        return {}
    parser = argparse.ArgumentParser()
    add_cfg_options(parser)
    return parser.parse_args(["--cfg-options", *options]).cfg_options


def command_line(args: argparse.Namespace) -> str:
    """The command that repeats this run."""
    words = ["x2vlm", "demo"]
    words += ["--config", str(args.config)] if args.config != CONFIG else []
    words += ["--cfg-options", *args.cfg_options] if args.cfg_options else []
    return shlex.join(words)


def summary(report: Path, results: Mapping[str, float], config: Path) -> str:
    """The main metrics, the path of the page, and the commands for real data."""
    from x2vlm.inference.report.result_tables import headlines

    metrics = [f"  {line['what']:<32}{line['value']:>8}   ({line['beside']})" for line in headlines(results)]
    return "\n".join(
        [
            "",
            *metrics,
            "",
            f"Look at it in a browser: {report.resolve()}",
            "",
            "On real data: the first lines of a config say how to run it, and where it looks for files.",
            *(f"  {path}\n      {summary}" for path, summary in real_configs(config)),
            "Check it with your options, then train it:",
            "  x2vlm check-config CONFIG --cfg-options data_root=FOLDER",
            "  x2vlm train CONFIG --work-dir work_dirs/NAME --cfg-options data_root=FOLDER",
            "",
        ]
    )


def real_configs(demo: Path) -> list[tuple[Path, str]]:
    """The pre-training configs beside the demo's, each with the first line of its docstring."""
    configs = sorted(demo.parents[1].glob("pretrain/[!_]*.py"))
    return [(path, (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]) for path in configs]


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm demo", description=__doc__)
    parser.add_argument("--config", default=CONFIG, help=f"config file (default: {CONFIG})")
    parser.add_argument(
        "--work-dir",
        default=WORK_DIR,
        help=f"where everything goes (default: {WORK_DIR}); if something is there already, a new folder with a number",
    )
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="change the config")
    return parser.parse_args(argv)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
