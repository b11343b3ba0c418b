"""``build``: from ``dict(type=..., ...)`` to an object, with errors that say where, what, and which name was meant."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from mmengine.config.lazy import LazyAttr, LazyObject
from mmengine.registry import Registry

from x2vlm.argument_checks import argument_problems, arguments, suggestion
from x2vlm.part_errors import ConfigError, PartError, is_foreign

LAZY = (LazyObject, LazyAttr)  # MMEngine's objects for imports in a config

# Modules that register the parts of MMEngine's own registries, by registry name: MMEngine does not import them.
MMENGINE_HOMES = {
    "hook": "mmengine.hooks",
    "loop": "mmengine.runner",
    "runner": "mmengine.runner",
    "log_processor": "mmengine.runner",
    "optimizer": "mmengine.optim",
    "optim_wrapper": "mmengine.optim",
    "optimizer wrapper constructor": "mmengine.optim",
    "parameter scheduler": "mmengine.optim",
    "dataset": "mmengine.dataset",
    "data sampler": "mmengine.dataset",
    "function": "mmengine.dataset",
    "model": "mmengine.model",
    "model_wrapper": "mmengine.model",
    "weight initializer": "mmengine.model",
    "evaluator": "mmengine.evaluator",
    "metric": "mmengine.evaluator",
    "visualizer": "mmengine.visualization",
    "vis_backend": "mmengine.visualization",
    "transform": "mmcv.transforms",
}


def build(registry: Registry, cfg: Any, path: str = "", **defaults: Any) -> Any:
    """Build the part that ``cfg`` describes.

    Args:
        registry: The family the part belongs to. MMEngine's order, ``build(cfg, registry)``, is understood too.
        cfg: ``dict(type=..., **arguments)``, where the type is a registered name, a dotted import path, a class or a
            function; or an object that is built already, which is returned as it is.
        path: Where ``cfg`` stands in the config, for messages, e.g. ``"model.vision_encoder"``.
        **defaults: Derived arguments (widths, sizes): passed on where the constructor names them and ``cfg`` does not.

    Raises:
        ConfigError: If the type is unknown, an argument is unknown or missing, or the constructor raises a
            ``TypeError`` or ``ValueError`` (its message is kept).
        FileNotFoundError: If the constructor raises one; the path is put in front.
        PartError: If the constructor of a plugin's part raises anything else.
    """
    if isinstance(cfg, Registry) and isinstance(registry, Mapping):
        registry, cfg = cfg, registry  # the order of MMEngine's build_from_cfg
    if not isinstance(cfg, Mapping):
        if cfg is None or isinstance(cfg, (str, int, float, list, tuple, type)):
            raise ConfigError(f"expected dict(type=...) or a built {registry.name}, not {cfg!r}.", path)
        return cfg
    try:
        kwargs = {key: imported(value) if isinstance(value, LAZY) else value for key, value in _raw_items(cfg)}
        if "type" not in kwargs:
            raise ConfigError(f"no 'type' says which {registry.name} it is. {_registered(registry)}")
        type_ = kwargs.pop("type")
        constructor = resolve(registry, type_)
    except ConfigError as error:
        raise ConfigError(error.message, path) from error
    named = arguments(constructor)[0]
    kwargs |= {key: value for key, value in defaults.items() if key in named and key not in kwargs}
    if problems := argument_problems(constructor, kwargs, title=called(type_)):
        raise ConfigError(" ".join(problems), path)
    return _call(constructor, kwargs, path, called(type_))


def resolve(registry: Registry, type_: Any) -> Callable[..., Any]:
    """The class or function that ``type_`` names.

    Args:
        registry: Where names are looked up; its modules are imported first, then those of its parents.
        type_: A registered name (case matters), ``"scope.Name"``, a dotted import path, a class, or a function.

    Raises:
        ConfigError: If nothing of that name exists; the nearest name is suggested.
    """
    if isinstance(type_, LAZY):
        type_ = imported(type_)
    if callable(type_):
        return type_
    if not isinstance(type_, str):
        raise ConfigError(f"'type' is {type_!r}, which is neither a name nor a class.")
    found = registry.module_dict.get(type_)
    if found is None or is_foreign(found):  # a name belongs to the library's part, which may not be imported yet
        found = _search(registry, type_)
    if callable(found):
        return found
    raise ConfigError(
        f"'{type_}' is not a registered {registry.name}.{suggestion(type_, names(registry))} {_registered(registry)}"
    )


def imported(lazy: LazyObject | LazyAttr) -> Any:
    """Import the object that an import in a config names.

    Raises:
        ConfigError: If it cannot be imported, with the file, the line and the nearest name.
    """
    try:
        return lazy.build()
    except Exception as error:  # whatever the imported module raises, the config is what named it
        where = f"{lazy.location}: " if lazy.location else ""
        if lazy.module.startswith("."):
            reason = (
                f"'from {lazy.module} import {lazy}' is relative. Outside read_base(), write the module's full name."
            )
            raise ConfigError(where + reason) from error
        try:
            names = dir(import_module(lazy.module))
        except Exception as cause:  # as above
            raise ConfigError(f"{where}{lazy.module} cannot be imported: {type(cause).__name__}: {cause}.") from cause
        raise ConfigError(f"{where}{lazy.module} has no '{lazy}'.{suggestion(str(lazy), names)}") from error


def names(registry: Registry) -> list[str]:
    """Every name that can be used as a type in this family, those of MMEngine's parent registry included, sorted."""
    import_locations(registry)
    return sorted({name for level in lineage(registry) for name in level.module_dict})


def lineage(registry: Registry) -> list[Registry]:
    """A family and the families of MMEngine that it extends, nearest first."""
    return [registry, *lineage(registry.parent)] if registry.parent is not None else [registry]


def import_locations(registry: Registry) -> None:
    """Import the modules in which the parts of this family and of its parents register themselves.

    Raises:
        ConfigError: If one of them cannot be imported.
    """
    for level in lineage(registry):
        try:
            level.import_from_location()
            if level.parent is None and level.name in MMENGINE_HOMES:
                import_module(MMENGINE_HOMES[level.name])
        except ImportError as error:
            raise ConfigError(f"the modules that register each {level.name} cannot be imported: {error}") from error


def called(type_: Any) -> str:
    """The name of a type in messages, as in the config."""
    name = str(type_) if isinstance(type_, (str, *LAZY)) else getattr(type_, "__name__", str(type_))
    return name.rpartition(".")[2]


def join_path(path: str, key: str) -> str:
    """``"model"`` and ``"itc"`` make ``"model.itc"``; ``"pipeline"`` and ``"[2]"`` make ``"pipeline[2]"``."""
    return path + key if not path or not key or key.startswith("[") else f"{path}.{key}"


def _call(constructor: Callable[..., Any], given: dict[str, Any], path: str, title: str) -> Any:
    try:
        return constructor(**given)
    except ConfigError as error:  # from a part inside this one, which may or may not know the whole path
        if not path or error.path == path or error.path.startswith((f"{path}.", f"{path}[")):
            raise
        raise ConfigError(error.message, join_path(path, error.path)) from error
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: {error}" if path else str(error)) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{title} could not be built: {error}", path) from error
    except (PartError, ImportError):  # a package that is not installed: the part says which
        raise
    except Exception as error:  # of a plugin, which may raise anything
        if isinstance(error, AttributeError) and "before Module.__init__" in str(error):
            raise ConfigError(f"{title}.__init__ must call super().__init__() first.", path) from error
        if not is_foreign(constructor):
            raise
        where = f"{path}: " if path else ""
        raise PartError(f"{where}{title} could not be built: {type(error).__name__}: {error}") from error


def _raw_items(cfg: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """The items of a dict; those of MMEngine's without importing what they stand for."""
    return dict.items(cfg) if isinstance(cfg, dict) else cfg.items()


def _search(registry: Registry, name: str) -> Any:
    import_locations(registry)
    for level in lineage(registry):
        if name in level.module_dict:
            return level.module_dict[name]
    if "." not in name:
        return None
    try:
        found = registry.get(name)  # "scope.Name" or "package.module.Name"
    except Exception:  # MMEngine tries to import what it may be; the next line reports the error
        found = None
    return found if found is not None else _import_dotted(name)


def _import_dotted(name: str) -> Any:
    """The object at a dotted path; None if there is none. An error inside the module is reported."""
    module_name, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module_name), attribute, None)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            return None
        raise ConfigError(f"'{name}' cannot be imported: {error}.") from error
    except Exception as error:  # any error of a foreign module: the config is what named it
        raise ConfigError(f"'{name}' cannot be imported: {error}.") from error


def _registered(registry: Registry) -> str:
    return f"Registered: {', '.join(names(registry)) or 'none'}."
