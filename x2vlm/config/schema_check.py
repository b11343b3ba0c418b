"""Check a config against the schema, without building a model or reading data.

The tree of a config is walked once: a dict with ``type`` is resolved in the registry that the schema names for its
path, and its keys are compared with the constructor's arguments. :mod:`x2vlm.config.cross_checks` compares values of
different paths.
"""

from collections.abc import Iterator
from os import PathLike
from types import NoneType
from typing import Any

from x2vlm.argument_checks import argument_problems, suggestion, value_problems
from x2vlm.building import LAZY, ConfigError, called, imported, resolve
from x2vlm.config.cross_checks import cross_check_problems
from x2vlm.config.package_settings import package_problems
from x2vlm.config.schema import (
    ALL_FAMILIES,
    ANY_PART,
    PATHS,
    TOP_LEVEL,
    PartSchema,
    SettingsSchema,
    part_schema_at,
    settings_schema_at,
)
from x2vlm.plugins import broken_plugins
from x2vlm.registry import OPTIM_WRAPPER_CONSTRUCTORS


def tree_problems(tree: dict[str, Any]) -> list[str]:
    """Every problem of a config, as ``"path: sentence"``.

    Args:
        tree: The config as plain dicts and lists, what it imports not yet imported.
    """
    problems = [
        f"{key}: {tree[key]!r} is no path." for key in PATHS if not isinstance(tree.get(key), (str, PathLike, NoneType))
    ]
    problems += [problem for key in tree if key in TOP_LEVEL for problem in _walk(tree[key], (key,))]
    return list(dict.fromkeys([*problems, *cross_check_problems(tree, resolve_type), *package_problems(tree)]))


def resolve_type(type_: Any, schema: PartSchema) -> Any:
    """The class or function that a type names, at a path with this schema.

    Raises:
        ConfigError: If there is none, or it belongs to another family. The message names the other families, and the
            plugins that could not be loaded.
    """
    errors = []
    for family in schema.families:
        try:
            constructor = resolve(family, type_)
        except ConfigError as error:
            errors.append(error.message)
        else:
            _check_family(constructor, schema)
            return constructor
    if not isinstance(type_, str):
        raise ConfigError(errors[0])
    owners = [family.name for family in ALL_FAMILIES if type_ in family.module_dict]
    notes = [f" '{type_}' is {_with_article(home)}." for home in owners[:1]] + [
        f" Note: {plugin}." for plugin in broken_plugins()
    ]
    if schema is ANY_PART:
        known = [name for family in ALL_FAMILIES for name in family.module_dict]
        errors = [f"'{type_}' is not registered in any family.{suggestion(type_, known)}"]
    raise ConfigError(errors[0] + "".join(notes))


def _check_family(constructor: Any, schema: PartSchema) -> None:
    owners = [family for family in ALL_FAMILIES if any(constructor is part for part in family.module_dict.values())]
    if owners and not any(home in schema.families for home in owners):
        raise ConfigError(
            f"{constructor.__name__} is {_with_article(owners[0].name)}, not {_with_article(schema.name)}."
        )


def _with_article(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _walk(node: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Problems of the node at these keys and indices, and below it."""
    schema, path = part_schema_at(keys), dotted(keys)
    if isinstance(node, dict):
        yield from _part_problems(node, path, schema)
        yield from _setting_problems(node, path, settings_schema_at(keys))
        for name, value in node.items():
            if name != "type":
                yield from _walk(value, (*keys, str(name)))
    elif isinstance(node, (list, tuple)) and (schema is None or keys == ("param_scheduler",)):
        for index, item in enumerate(node):
            yield from _walk(item, (*keys, str(index)))
    elif isinstance(node, LAZY):
        yield from _import_problems(node, path, schema)
    elif (settings := settings_schema_at(keys)) and not (node is None and settings.optional):
        yield f"{path}: expected a dict, not {node!r}."
    elif schema and not (schema.elsewhere or callable(node) or (node is None and schema.optional)):
        yield f"{path}: expected dict(type=...) for {_with_article(schema.name)}, not {node!r}."


def _part_problems(node: dict[str, Any], path: str, schema: PartSchema | None) -> Iterator[str]:
    type_ = node.get("type", schema.default if schema else "")
    if not type_:
        if schema and not schema.elsewhere:
            yield f"{path}: no 'type' says which {schema.name} it is."
        return
    schema = schema or ANY_PART
    try:
        constructor = resolve_type(type_, schema)
        if "constructor" in schema.extra and "constructor" in node:
            resolve(OPTIM_WRAPPER_CONSTRUCTORS, node["constructor"])
    except ConfigError as error:
        yield f"{path}: {error.message}"
        return
    given = [name for name in node if name != "type"]
    terms = {"hidden": schema.hidden, "extra": schema.extra, "title": called(type_)}
    problems = argument_problems(constructor, given, schema.derived, **terms)
    yield from (f"{path}: {problem}" for problem in problems)
    yield from (f"{path}.{problem}" for problem in value_problems(constructor, node))


def _import_problems(node: Any, path: str, schema: PartSchema | None) -> Iterator[str]:
    """Problems of an imported name that is used as a value."""
    try:
        value = imported(node)
    except ConfigError as error:
        yield f"{path}: {error.message}"
        return
    if not callable(value):
        yield f"{path}: '{node}' is imported, and a config keeps only names of what it imports. Write the value."
    elif schema and isinstance(value, type):
        yield f"{path}: expected dict(type={node}), not the class alone."


def _setting_problems(node: dict[str, Any], path: str, settings: SettingsSchema | None) -> Iterator[str]:
    if settings is None:
        return
    terms = {"hidden": settings.hidden, "extra": settings.extra}
    problems = argument_problems(settings.constructor(), node, settings.derived, **terms)
    yield from (f"{path}: {problem}" for problem in problems)
    yield from (f"{path}.{problem}" for problem in value_problems(settings.constructor(), node))
    yield from (f"{path}: '{name}' is missing." for name in settings.extra if node.get(name) is None)


def dotted(keys: tuple[str, ...]) -> str:
    """``("pipeline", "2", "size")`` as ``"pipeline[2].size"``."""
    return "".join(f"[{key}]" if key.isdigit() else f".{key}" for key in keys).lstrip(".")
