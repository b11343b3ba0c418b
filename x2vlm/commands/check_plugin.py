"""``check-plugin``: load a plugin's folder, and run what its configs name once: parts, a batch of each stream, losses.

Nothing is trained and nothing is written. Weights are made at the sizes of the configs; data that a config names must
be there.
"""

import argparse
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from x2vlm import registry as families
from x2vlm.building import LAZY, ConfigError, PartError, build, called
from x2vlm.config import load_config
from x2vlm.config.config_source import display_path
from x2vlm.plugins import Plugin, load_plugins, plugin_of


def main(argv: Sequence[str] | None = None) -> int:
    """Check plugins; returns 0 if all keep their contracts, else 1."""
    parser = argparse.ArgumentParser(prog="x2vlm check-plugin", description=__doc__)
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="plugins/<name>")
    parser.add_argument("--no-data", action="store_true", help="build the model alone: the data are not here")
    args = parser.parse_args(argv)
    return int(any([not check(Path(folder), not args.no_data) for folder in args.folders]))


def check(folder: Path, with_data: bool = True) -> bool:
    """Check one plugin, and say what was found in a line for each part and config."""
    plugin = _loaded(folder.resolve())
    parts = dict(registered_by(plugin.name))
    _say(f"plugin '{plugin.name}': {', '.join(parts) or 'registers nothing'}")
    configs = sorted(folder.glob("config*.py"))
    fine, used = bool(parts), set()
    for config in configs:
        try:
            cfg = load_config(config)
            used |= set(_types(cfg.to_dict()))
            done = _run(cfg, with_data)
        except PartError as error:
            _say(f"{display_path(config)}: {error.sentence}")
            if error.__cause__ is not None:
                _say("".join(traceback.format_exception(error.__cause__)).rstrip())
            fine = False
        except (ConfigError, FileNotFoundError, ImportError, ValueError) as error:
            message = str(error)
            _say(message if message.startswith(display_path(config)) else f"{display_path(config)}: {message}")
            fine = False
        else:
            _say(f"{display_path(config)}: ok ({done})")
    if not configs:
        _say(f"{display_path(folder)} has no config*.py, so nothing was run. A config says how its parts are built.")
    for name in parts:
        if configs and name not in used:
            _say(f"note: no config names {name}: nothing was run of it")
    return fine


def registered_by(plugin: str) -> Iterator[tuple[str, Any]]:
    """The parts of a plugin, with the names they are registered under."""
    for family in vars(families).values():
        if isinstance(family, Registry):
            yield from ((name, part) for name, part in family.module_dict.items() if plugin_of(part) == plugin)


def _loaded(folder: Path) -> Plugin:
    if not (folder / "__init__.py").is_file():
        raise FileNotFoundError(f"{display_path(folder)} is no plugin: it has no __init__.py.")
    if folder.parent.name != "plugins":
        raise ConfigError(
            f"{display_path(folder)} does not lie in a folder 'plugins'. Move it to plugins/{folder.name}."
        )
    found = next((p for p in load_plugins(folders=[folder.parent]) if Path(p.origin) == folder), None)
    if found is None:
        raise ConfigError(f"another plugin of the name '{folder.name}' was found first. Rename one of the folders.")
    if found.error:
        raise ConfigError(f"{found}.")
    return found


def _run(cfg: Any, with_data: bool) -> str:
    """Build what a config names and run it once; says what was done."""
    from x2vlm.data.sampler import seeded
    from x2vlm.data.streams import build_streams
    from x2vlm.engine.metric_contract import check_calls
    from x2vlm.registry import METRICS, MODELS, TOKENIZERS

    tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer") if cfg.get("tokenizer") else None
    with seeded(0):
        model = build(MODELS, cfg.model, "model", tokenizer=tokenizer) if cfg.get("model") else None
    done = ["model built"] * (model is not None)
    for name, one in (cfg.get("evaluations") or {}).items():
        path = f"evaluations.{name}.metric"
        metric = build(METRICS, one.metric, path, tokenizer=tokenizer, work_dir=".")
        check_calls(metric, model, path)
        done += [f"metric of {name}"]
    if with_data and cfg.get("streams") and model is not None:
        for name, stream in build_streams(cfg.streams, tokenizer, cfg.get("data_root")).items():
            stream.num_workers = 0
            stream.start(0)
            objectives = stream.objectives
            with seeded(0):
                model.train()({name: next(stream)}, objectives={name: objectives})
            stream.stop()
            done += [f"losses of stream {name}"]
    return ", ".join(done) or "read"


def _types(node: Any) -> Iterator[str]:
    """The names of all types in a config."""
    if isinstance(node, dict):
        type_ = node.get("type")
        if isinstance(type_, (str, *LAZY)) or callable(type_):
            yield called(type_)
        for value in node.values():
            yield from _types(value)
    elif isinstance(node, (list, tuple)):
        for item in node:
            yield from _types(item)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
