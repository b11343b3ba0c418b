"""``check-config``: every problem of some configs, without building a model or reading data; and single values."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from x2vlm.building import ConfigError
from x2vlm.config import add_cfg_options, load_config
from x2vlm.config.config_source import display_path
from x2vlm.config.published_numbers import NUMBERS, compare, read_numbers, value_at


def main(argv: Sequence[str] | None = None) -> int:
    """Check configs; returns 0 if all are right, else 1."""
    parser = argparse.ArgumentParser(prog="x2vlm check-config", description=__doc__)
    parser.add_argument("configs", nargs="*", help="config files (default: all in configs/ and plugins/)")
    parser.add_argument(
        "--print",
        nargs="+",
        metavar="KEY",
        help="print resolved values: train_cfg.epochs 'streams.image.dataset.pipeline[PickCaption].max_words'",
    )
    parser.add_argument(
        "--published",
        nargs="?",
        const=NUMBERS,
        metavar="TABLE",
        help=f"compare configs with a table of published numbers (default: {NUMBERS})",
    )
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if args.published is not None:
        return published(args.published)
    configs = args.configs or config_files(Path.cwd())
    if not configs:
        parser.error(f"no config is named, and there is none in {Path.cwd()}/configs or /plugins")
    if args.print:
        return int(any([not print_values(config, args.print, args.cfg_options) for config in configs]))
    return int(any([not check(config, args.cfg_options, details=bool(args.configs)) for config in configs]))


def check(config: str | Path, overrides: dict | None = None, details: bool = False) -> bool:
    """Check one config and print a line, or one line per problem.

    Args:
        config: The file.
        overrides: Changes to it.
        details: Print for each stream, too, whether its ``batch_size`` counts records or pairs.
    """
    try:
        cfg = load_config(config, overrides)
    except ConfigError as error:
        sys.stdout.write(f"{error}\n")
        return False
    sys.stdout.write(f"{display_path(config)}: ok\n")
    if details:
        from x2vlm.data.streams import describe_batch_size

        for name, stream in (cfg.get("streams") or {}).items():
            sys.stdout.write(f"  streams.{name}: {describe_batch_size(stream)}\n")
    return True


def print_values(config: str | Path, keys: Sequence[str], overrides: dict | None = None) -> bool:
    """Print what some keys of a config resolve to, a line each; False if the config or a key is wrong."""
    try:
        cfg = load_config(config, overrides)
        for key in keys:
            sys.stdout.write(f"{display_path(config)}\t{key}\t{json.dumps(value_at(cfg, key))}\n")
    except ConfigError as error:
        sys.stdout.write(f"{error}\n")
        return False
    return True


def published(table: str | Path) -> int:
    """Print a table of published numbers with the values that the configs resolve to; 1 if any of them differs."""
    try:
        rows = compare(read_numbers(table), load_config)
    except (ConfigError, OSError) as error:
        sys.stdout.write(f"{error}\n")
        return 1
    sys.stdout.write("| item | config | key | resolved | published |\n|---|---|---|---|---|\n")
    for number, key, value, same in rows:
        message = "the same" if same else f"**{json.dumps(number.published)}**"
        sys.stdout.write(f"| {number.item} | {number.config} | `{key}` | {json.dumps(value)} | {message} |\n")
    wrong = sum(not same for *_, same in rows)
    sys.stdout.write(f"\n{len(rows)} values, {wrong} of them not as published\n")
    return int(wrong > 0)


def config_files(root: Path) -> list[Path]:
    """Every config under ``configs/`` and ``plugins/*/`` that can be run: what only serves as a base is left out.

    Bases are the files in a folder ``base``, and those whose name begins with an underscore.
    """
    core = [path for path in root.glob("configs/**/*.py") if "base" not in path.relative_to(root).parts[:-1]]
    return sorted(path for path in [*core, *root.glob("plugins/*/config*.py")] if not path.name.startswith("_"))
