"""``load_config``: read a config, change it from the command line, and refuse it with every problem at once."""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from x2vlm.building import ConfigError
from x2vlm.config.config_source import describe_missing_file, display_path, read_source
from x2vlm.config.cross_checks import doubts
from x2vlm.config.overrides import apply_overrides
from x2vlm.config.run_config import plain_values, run_config, unresolved
from x2vlm.config.schema_check import tree_problems
from x2vlm.config.source_checks import (
    apply_removals,
    custom_import_names,
    import_problems,
    name_problems,
    removal_problems,
)
from x2vlm.config_to_python import OrderedConfig
from x2vlm.plugins import load_plugins, use_plugins

log = logging.getLogger("x2vlm")


def load_config(
    path: str | Path, overrides: dict[str, Any] | None = None, plugins: Iterable[str | Path] = ()
) -> Config:
    """Read a config and check all of it, without building a model or reading data.

    What the config removed from its model with ``model.objectives.pop(name)`` is removed from its streams too. Names
    that only help to write the config down (``size = 64``) are not in the result.

    Args:
        path: A config in Python (either style of MMEngine), YAML or JSON.
        overrides: Changes by dotted key, as from ``--cfg-options``: ``{"streams.region.weight": 0.0}``.
        plugins: ``plugins/`` folders besides those of the config, the current directory and the project.

    Raises:
        ConfigError: With one line per problem.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(describe_missing_file(path))
    load_plugins(path, plugins)
    try:
        source = read_source(path) if path.suffix == ".py" else None
        cfg = run_config(path, source)
        problems = removal_problems(source)
    except ConfigError as error:
        raise ConfigError(report(path, [str(error)])) from error
    problems += import_problems(cfg)
    named = [module for part in source.chain() for module in part.modules()] if source else []
    use_plugins([part.path for part in source.chain()] if source else [path], [*named, *custom_import_names(cfg)])
    with unresolved():
        problems += name_problems(cfg, source)
        apply_removals(cfg, source)
        problems += apply_overrides(cfg, overrides or {})
    in_tree = tree_problems(plain_values(cfg))
    tree_text = "\n".join(in_tree)
    problems = [problem for problem in problems if problem not in tree_text] + in_tree
    if problems:
        raise ConfigError(report(path, problems))
    for sentence in doubts(plain_values(cfg)):
        log.warning("%s: %s", display_path(path), sentence)
    return OrderedConfig.of(cfg)


def report(path: str | Path, problems: Sequence[str]) -> str:
    """``configs/x.py: 2 problems``, and a line for each."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n  ".join([f"{display_path(path)}: {count}", *problems])
