"""``check-config``: every problem of some configs, without building a model or reading data."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from x2vlm.building import ConfigError
from x2vlm.config import add_cfg_options, load_config
from x2vlm.config.config_source import display_path


def main(argv: Sequence[str] | None = None) -> int:
    """Check configs; returns 0 if all are right, else 1."""
    parser = argparse.ArgumentParser(prog="x2vlm check-config", description=__doc__)
    parser.add_argument("configs", nargs="*", help="config files (default: all in configs/ and plugins/)")
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    configs = args.configs or config_files(Path.cwd())
    if not configs:
        parser.error(f"no config is named, and there is none in {Path.cwd()}/configs or /plugins")
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


def config_files(root: Path) -> list[Path]:
    """Every config under ``configs/`` and ``plugins/*/`` that can be run: what only serves as a base is left out.

    Bases are the files in a folder ``base``, and those whose name begins with an underscore.
    """
    core = [path for path in root.glob("configs/**/*.py") if "base" not in path.relative_to(root).parts[:-1]]
    return sorted(path for path in [*core, *root.glob("plugins/*/config*.py")] if not path.name.startswith("_"))
