"""What the text of a config says that its values do not: imports, removals, names that nothing reads."""

import importlib
import logging
from types import FunctionType, ModuleType
from typing import Any

from mmengine.config import Config

from x2vlm.argument_checks import suggestion
from x2vlm.building import LAZY, ConfigError, imported
from x2vlm.config.config_source import ConfigSource, format_location
from x2vlm.config.run_config import plain_values, run_config, unresolved
from x2vlm.config.schema import TOP_LEVEL

log = logging.getLogger("x2vlm")


def import_problems(cfg: Config) -> list[str]:
    """Import what the config imports, so that plugins register; the problems of those that cannot be."""
    with unresolved():
        lazy = [cfg.pop(key) for key in [key for key in cfg if isinstance(cfg[key], LAZY)]]
        custom = cfg.get("custom_imports") or {}
    problems = []
    for part in lazy:
        try:
            imported(part)
        except ConfigError as error:
            problems.append(error.message)
    for name in custom_import_names(cfg):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the imported module raises, the config is what named it
            message = f"custom_imports: '{name}' cannot be imported: {type(error).__name__}: {error}."
            if custom.get("allow_failed_imports"):
                log.warning(message)
            else:
                problems.append(message)
    return problems


def custom_import_names(cfg: Config) -> list[str]:
    """The modules that ``custom_imports`` names."""
    with unresolved():
        custom = cfg.get("custom_imports")
    names = custom.get("imports") or [] if isinstance(custom, dict) else []
    return [names] if isinstance(names, str) else list(names)


def removal_problems(source: ConfigSource | None) -> list[str]:
    """``pop`` of a key that was never there: MMEngine says nothing, and an ablation is silently its base."""
    problems = []
    for part in source.chain() if source else ():
        base_values: dict[str, Any] = {}
        for base in part.bases if part.removals() else ():
            base_values |= plain_values(run_config(base.path, base))
        for owner_path, key, line in part.removals():
            owner: Any = base_values
            for name in owner_path.split("."):
                owner = owner.get(name) if isinstance(owner, dict) else None
            if isinstance(owner, dict) and key not in owner and owner_path.split(".")[0] not in part.assigned():
                message = f"{owner_path} has no '{key}' to remove.{suggestion(key, owner)} It has: {', '.join(owner)}."
                problems.append(f"{format_location(part.path, line)}: {message}")
    return problems


def name_problems(cfg: Config, source: ConfigSource | None) -> list[str]:
    """Remove top-level names that nothing reads; report those that look like mistakes."""
    problems = []
    read_names = {name for part in source.chain() for name in part.read()} if source else set()
    imported_names = {name for part in source.chain() for name in part.imported()} if source else set()
    for key in [key for key in cfg if key not in TOP_LEVEL]:
        value = cfg.pop(key)
        near = suggestion(key, TOP_LEVEL)
        if key in imported_names:
            continue
        if isinstance(value, (FunctionType, ModuleType)):
            problems.append(f"{key}: a config holds values, not functions. Compute it in a class.")
        elif source is None or (key in source.assigned() and key not in source.read() and not key.startswith("_")):
            line = f"{format_location(source.path, source.assigned()[key])}: " if source else ""
            inherited = source is not None and any(key in part.assigned() for part in list(source.chain())[1:])
            reason = " A base made its values from its own, which stays as it was." if inherited else ""
            problems.append(f"{line}nothing reads '{key}'.{reason}{near}")
        elif near and key not in read_names:
            problems.append(f"{key}: nothing reads it.{near}")
    return problems


def apply_removals(cfg: Config, source: ConfigSource | None) -> None:
    """Objectives that were removed from the model are removed from the streams and the plan that name them."""
    chain = list(source.chain()) if source else []
    removed = {key for part in chain for owner_path, key, _ in part.removals() if owner_path == "model.objectives"}
    model, streams = cfg.get("model"), cfg.get("streams")
    if not isinstance(model, dict) or not isinstance(streams, dict):
        return
    removed -= set(model.get("objectives") or ())
    for stream_name, stream in streams.items():
        wanted = stream.get("objectives") if isinstance(stream, dict) else None
        if lost := [name for name in wanted or () if name in removed] if not isinstance(wanted, str) else []:
            log.warning("streams.%s no longer runs %s, which the model lost.", stream_name, ", ".join(lost))
        if isinstance(wanted, dict):
            stream["objectives"] = {name: factor for name, factor in wanted.items() if name not in removed}
        elif isinstance(wanted, (list, tuple)):
            stream["objectives"] = type(wanted)(name for name in wanted if name not in removed)
    plan = (cfg.get("train_cfg") or {}).get("plan") or {}
    for name in removed & set(plan.get("until") or ()):
        plan["until"].pop(name)
    for turn in (plan.get("turns") or {}).values():
        if "without" in turn:
            turn["without"] = tuple(name for name in turn["without"] if name not in removed)
