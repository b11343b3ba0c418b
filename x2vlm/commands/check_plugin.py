"""``check-plugin``: load a plugin, and run what its configs name once: parts, a batch of each stream, losses, metrics.

A plugin is a folder plugins/NAME, or an installed package with an entry point, by its name. Its configs are the
config*.py beside its __init__.py, and those that --config names. Nothing is trained and nothing is written. Weights are
made at the sizes of the configs; data that a config names must be there.
"""

import argparse
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

from x2vlm import registry as families
from x2vlm.building import LAZY, ConfigError, PartError, called
from x2vlm.config import load_config
from x2vlm.config.config_source import display_path
from x2vlm.plugins import Plugin, load_plugins, plugin_of


def main(argv: Sequence[str] | None = None) -> int:
    """Check plugins; returns 0 if all keep their contracts, else 1."""
    parser = argparse.ArgumentParser(prog="x2vlm check-plugin", description=__doc__)
    parser.add_argument("plugins", nargs="+", metavar="PLUGIN", help="plugins/<name>, or the name of an installed one")
    parser.add_argument("--config", nargs="+", default=[], help="configs to run beside the plugin's own")
    parser.add_argument("--no-data", action="store_true", help="build the model alone: the data are not here")
    args = parser.parse_args(argv)
    return int(any([not check(Path(plugin), not args.no_data, args.config) for plugin in args.plugins]))


def check(folder: Path, with_data: bool = True, configs: Sequence[str | Path] = ()) -> bool:
    """Check one plugin, and say what was found in a line for each part and config.

    Args:
        folder: The plugin's folder; or the name of an installed plugin.
        with_data: Whether data are read.
        configs: Configs beside those in the plugin's folder.
    """
    plugin = find_plugin(folder)
    parts = dict(registered_by(plugin.name))
    home = Path(sys.modules[plugin.module].__file__).parent
    listed = ", ".join(parts) or "registers nothing: its __init__.py imports no module with a registered part"
    _say(f"plugin '{plugin.name}': {listed}")
    own = [*sorted(home.glob("config*.py")), *map(Path, configs)]
    fine, used, all_read = bool(parts), set(), True
    for config in own:
        try:
            cfg = load_config(config)
        except (ConfigError, FileNotFoundError, ImportError, ValueError) as error:
            message = str(error)
            _say(message if message.startswith(display_path(config)) else f"{display_path(config)}: {message}")
            fine = all_read = False
            continue
        used |= set(_types(cfg.to_dict()))
        fine &= _run(config, cfg, with_data)
    if not own:
        _say(f"{display_path(home)} has no config*.py, so nothing was run. Add one that names the parts, or --config.")
    for name in parts:
        if own and all_read and name not in used:
            _say(f"note: no config names {name}: nothing was run of it")
    return fine


def _run(config: Path, cfg: Any, with_data: bool) -> bool:
    """Run a config once, and say what was done and what is wrong."""
    from x2vlm.commands.shared.plugin_run import PluginRun

    title, run = display_path(config), PluginRun(cfg, with_data)
    try:
        run.run()
    except PartError as error:
        run.problems.append(error.sentence)
        if error.__cause__ is not None:
            run.problems.append("".join(traceback.format_exception(error.__cause__)).rstrip())
    except (ConfigError, FileNotFoundError, ImportError, ValueError) as error:
        run.problems.append(str(error))
    except Exception as error:  # the library stumbled over what the plugin gave it: say which, and go on
        done = f" after: {', '.join(run.done)}" if run.done else ""
        run.problems += [f"{type(error).__name__}: {error}{done}", traceback.format_exc().rstrip()]
    for problem in run.problems:
        _say(f"{title}: {problem}")
    for note in run.notes:
        _say(f"{title}: note: {note}")
    if not run.problems:
        _say(f"{title}: ok ({', '.join(run.done) or 'read'})")
    return not run.problems


def registered_by(plugin: str) -> Iterator[tuple[str, Any]]:
    """The parts of a plugin, with the names they are registered under."""
    for family in vars(families).values():
        if isinstance(family, Registry):
            yield from ((name, part) for name, part in family.module_dict.items() if plugin_of(part) == plugin)


def find_plugin(folder: Path) -> Plugin:
    """The plugin of a folder ``plugins/<name>``, or of an installed package by its name or its folder.

    Raises:
        FileNotFoundError: If there is none.
        ConfigError: If it cannot be loaded from there.
    """
    home = folder.resolve()
    is_folder = (home / "__init__.py").is_file() and home.parent.name == "plugins"
    found = [plugin for plugin in load_plugins(folders=[home.parent] if is_folder else ()) if _is(plugin, folder)]
    if not found:
        raise _not_found(folder, is_folder)
    if found[0].error:
        raise ConfigError(f"{found[0]}.")
    return found[0]


def _is(plugin: Plugin, folder: Path) -> bool:
    if Path(plugin.origin) == folder.resolve():
        return True
    if not plugin.origin.startswith("entry point"):
        return False
    file = getattr(sys.modules.get(plugin.module), "__file__", None)
    return plugin.name == str(folder) or (file is not None and folder.resolve() in Path(file).parents)


def _not_found(folder: Path, is_folder: bool) -> Exception:
    installed = (
        "Or install it as a package with an entry point of the group 'x2vlm.plugins', and give the name of that."
    )
    if is_folder:
        return ConfigError(f"another plugin of the name '{folder.name}' was found first. Rename one of the folders.")
    if not (folder / "__init__.py").is_file():
        return FileNotFoundError(
            f"{display_path(folder)} is no plugin: it has no __init__.py. Nor is a plugin of that name installed."
        )
    title = display_path(folder.resolve())
    return ConfigError(f"{title} does not lie in a folder 'plugins'. Move it to plugins/{folder.name}. {installed}")


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
