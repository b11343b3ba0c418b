"""Plugins: parts from outside the core, found in ``plugins/`` folders and in installed packages.

A folder plugin is ``plugins/<name>/__init__.py`` in the current directory, in the project's root, or beside (or above)
a config. An installed plugin declares the entry-point group ``x2vlm.plugins``. Importing one registers its parts. (The
third way, an import in a config, needs nothing from here but the folder on the path.)
"""

import importlib
import logging
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mmengine.registry import Registry

import x2vlm
from x2vlm import registry as families
from x2vlm.part_registry import Family

ENTRY_POINT_GROUP = "x2vlm.plugins"


@dataclass(frozen=True)
class Plugin:
    """One plugin that was found.

    Attributes:
        name: The folder's name, or the name of the entry point.
        module: Dotted name of the module, e.g. ``"plugins.sigmoid_itc"``.
        origin: The folder, or the entry point of the installed package.
        error: Why it could not be imported; empty if it could.
    """

    name: str
    module: str
    origin: str
    error: str = ""

    @property
    def package(self) -> str:
        """The package of all modules of the plugin."""
        parts = self.module.split(".")
        return ".".join(parts[:2]) if parts[0] == "plugins" else parts[0]

    def __str__(self) -> str:
        return f"plugin '{self.name}' ({self.origin}) could not be loaded: {self.error}" if self.error else self.name


_told: set[tuple[str, str]] = set()  # plugins that share a name, of which has been warned
_loaded: dict[str, Plugin] = {}  # by module; Python imports a module once, so each is tried once in a process


def load_plugins(config: str | Path | None = None, folders: Iterable[str | Path] = ()) -> list[Plugin]:
    """Import every plugin that can be found, so that its parts are registered.

    A plugin that cannot be imported is left out, with a warning that names it: only configs that use it are affected.

    Args:
        config: A config file: the nearest ``plugins/`` folder beside or above it counts too.
        folders: More ``plugins/`` folders.

    Returns:
        The plugins, broken ones included.
    """
    found = []
    for folder in put_on_path(plugin_folders(config, folders)):
        for home in sorted(path.parent for path in folder.glob("*/__init__.py")):
            module = f"plugins.{home.name}"
            found.append(_load(home.name, module, str(home), lambda m=module: importlib.import_module(m)))
    for point in entry_points(group=ENTRY_POINT_GROUP):
        found.append(_load(point.name, point.module, f"entry point {point.value}", point.load))
    return list({plugin.module: plugin for plugin in found}.values())


def use_plugins(config_files: Iterable[str | Path] = (), modules: Iterable[str] = ()) -> list[str]:
    """Let parts that plugins registered with ``force=True`` take the places of the library's, where they are asked for.

    Args:
        config_files: Those of a config and its bases; one in a plugin's folder asks for the plugin.
        modules: What the config imports.

    Returns:
        The names that now stand for a plugin's part.
    """
    folders, modules = [Path(file).resolve().parent for file in config_files], list(modules)

    def wanted(home: str) -> bool:
        plugin = next((p for p in _loaded.values() if _is_inside(home, p.package)), None)
        is_named = plugin is not None and any(_is_inside(module, plugin.package) for module in modules)
        return is_named or (plugin is not None and any(Path(plugin.origin) in (f, *f.parents) for f in folders))

    return [
        name for family in vars(families).values() if isinstance(family, Family) for name in family.put_in_place(wanted)
    ]


def broken_plugins() -> list[Plugin]:
    """The plugins that could not be imported so far."""
    return [plugin for plugin in _loaded.values() if plugin.error]


def plugin_of(part: Any) -> str | None:
    """The name of the plugin that brought a class or function; None for the core and for the packages it stands on."""
    home = getattr(part, "__module__", "") or ""
    return next((plugin.name for plugin in _loaded.values() if _is_inside(home, plugin.package)), None)


def plugin_folders(config: str | Path | None = None, folders: Iterable[str | Path] = ()) -> list[Path]:
    """The ``plugins/`` folders there are: named ones, the config's, the current directory's, the project's own."""
    wanted = [Path(folder).resolve() for folder in folders]
    if config is not None:
        above = (parent / "plugins" for parent in Path(config).resolve().parents)
        wanted += [folder for folder in above if folder.is_dir()][:1]
    wanted.append(Path.cwd() / "plugins")
    project = Path(x2vlm.__file__).resolve().parents[1]
    if (project / "setup.cfg").is_file():  # a checkout; an installed package has other people's folders beside it
        wanted.append(project / "plugins")
    return [folder for folder in dict.fromkeys(wanted) if folder.is_dir()]


def put_on_path(folders: list[Path]) -> list[Path]:
    """Make ``import plugins.<name>`` work for every plugin in these folders; returns them."""
    for folder in folders:
        if str(folder.parent) not in sys.path:
            sys.path.append(str(folder.parent))  # data workers that are spawned get the path, not the modules
    if folders:
        importlib.invalidate_caches()
        package = importlib.import_module("plugins")
        known = [str(Path(entry).resolve()) for entry in package.__path__]
        missing = [str(folder) for folder in folders if str(folder) not in known]
        if missing:  # an ordinary package of that name came first
            package.__path__ = [*package.__path__, *missing]
    return folders


def _load(name: str, module: str, origin: str, importer: Callable[[], Any]) -> Plugin:
    if module in _loaded and _loaded[module].origin != origin and (module, origin) not in _told:
        _told.add((module, origin))
        logging.getLogger("x2vlm").warning(
            "two plugins are called '%s': that in %s is loaded, that in %s is not. Rename one of the folders.",
            name,
            _loaded[module].origin,
            origin,
        )
    if module not in _loaded:
        Family.loading = True
        try:
            importer()
            _loaded[module] = Plugin(name, module, origin)
        except Exception as error:  # a plugin is foreign code: whatever it raises must not stop those who do not use it
            _loaded[module] = Plugin(name, module, origin, error=_reason(error))
            _unregister(_loaded[module].package)
            logging.getLogger("x2vlm").warning("%s. It is left out.", _loaded[module])
        finally:
            Family.loading = False
    return _loaded[module]


def _reason(error: Exception) -> str:
    """What an import raised; a KeyError quotes its sentence, which is to be read."""
    text = error.args[0] if isinstance(error, KeyError) and error.args and " " in str(error.args[0]) else error
    return f"{type(error).__name__}: {text}".rstrip(".")


def _unregister(package: str) -> None:
    """Unregister the parts of a half-imported plugin: a broken plugin offers nothing."""
    for registry in (value for value in vars(families).values() if isinstance(value, Registry)):
        for name in [
            n for n, part in registry.module_dict.items() if _is_inside(getattr(part, "__module__", ""), package)
        ]:
            registry.module_dict.pop(name)


def _is_inside(home: str, package: str) -> bool:
    return home == package or home.startswith(f"{package}.")
