"""Every mistake of a config that can be seen without building a model or reading data.

The tree of a config is walked once: a dict with ``type`` is resolved in the family that fits its place, and its keys
are compared with the constructor's arguments. Relations between places are in ``config_relations``.
"""

from collections.abc import Iterator
from typing import Any

from x2vlm.building import LAZY, ConfigError, called, imported, resolve
from x2vlm.config.relations import relation_problems
from x2vlm.config.roles import ALL_FAMILIES, ANY, TOP_LEVEL, Role, Settings, role_at, settings_at
from x2vlm.plugins import broken_plugins
from x2vlm.registry import OPTIM_WRAPPER_CONSTRUCTORS
from x2vlm.signatures import argument_problems, suggestion


def tree_problems(tree: dict[str, Any]) -> list[str]:
    """Every problem of a config, as ``"path: sentence"``.

    Args:
        tree: The config as plain dicts and lists, what it imports not yet imported.
    """
    problems = [problem for key in tree if key in TOP_LEVEL for problem in _walk(tree[key], (key,))]
    return list(dict.fromkeys(problems + list(relation_problems(tree, find))))


def find(type_: Any, role: Role) -> Any:
    """The class or function of a type at a place.

    Raises:
        ConfigError: If there is none, or it belongs to another family. The message knows the other families, and the
            plugins that could not be loaded.
    """
    errors = []
    for family in role.families:
        try:
            found = resolve(family, type_)
        except ConfigError as error:
            errors.append(error.message)
        else:
            _check_family(found, role)
            return found
    if not isinstance(type_, str):
        raise ConfigError(errors[0])
    homes = [family.name for family in ALL_FAMILIES if type_ in family.module_dict]
    notes = [f" '{type_}' is {_a(home)}." for home in homes[:1]] + [f" Note: {plugin}." for plugin in broken_plugins()]
    if role is ANY:
        known = [name for family in ALL_FAMILIES for name in family.module_dict]
        errors = [f"'{type_}' is not registered in any family.{suggestion(type_, known)}"]
    raise ConfigError(errors[0] + "".join(notes))


def _check_family(found: Any, role: Role) -> None:
    homes = [family for family in ALL_FAMILIES if any(found is part for part in family.module_dict.values())]
    if homes and not any(home in role.families for home in homes):
        raise ConfigError(f"{found.__name__} is {_a(homes[0].name)}, not {_a(role.name)}.")


def _a(name: str) -> str:
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _walk(node: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """The problems at and under the node that these keys and indices lead to."""
    role, path = role_at(keys), dotted(keys)
    if isinstance(node, dict):
        yield from _part_problems(node, path, role)
        yield from _setting_problems(node, path, settings_at(keys))
        for name, value in node.items():
            if name != "type":
                yield from _walk(value, (*keys, str(name)))
    elif isinstance(node, (list, tuple)) and (role is None or keys == ("param_scheduler",)):
        for index, item in enumerate(node):
            yield from _walk(item, (*keys, str(index)))
    elif isinstance(node, LAZY):
        yield from _import_problems(node, path, role)
    elif (settings := settings_at(keys)) and not (node is None and settings.optional):
        yield f"{path}: expected a dict, not {node!r}."
    elif role and not (role.elsewhere or callable(node) or (node is None and role.optional)):
        yield f"{path}: expected dict(type=...) for {_a(role.name)}, not {node!r}."


def _part_problems(node: dict[str, Any], path: str, role: Role | None) -> Iterator[str]:
    type_ = node.get("type", role.default if role else "")
    if not type_:
        if role and not role.elsewhere:
            yield f"{path}: no 'type' says which {role.name} it is."
        return
    role = role or ANY
    try:
        constructor = find(type_, role)
        if "constructor" in role.extra and "constructor" in node:
            resolve(OPTIM_WRAPPER_CONSTRUCTORS, node["constructor"])
    except ConfigError as error:
        yield f"{path}: {error.message}"
        return
    given = [name for name in node if name != "type"]
    terms = {"hidden": role.hidden, "extra": role.extra, "title": called(type_)}
    problems = argument_problems(constructor, given, role.derived, **terms)
    yield from (f"{path}: {problem}" for problem in problems)


def _import_problems(node: Any, path: str, role: Role | None) -> Iterator[str]:
    """What is wrong with an imported name that stands for a value."""
    try:
        value = imported(node)
    except ConfigError as error:
        yield f"{path}: {error.message}"
        return
    if not callable(value):
        yield f"{path}: '{node}' is imported, and a config keeps only names of what it imports. Write the value."
    elif role and isinstance(value, type):
        yield f"{path}: expected dict(type={node}), not the class alone."


def _setting_problems(node: dict[str, Any], path: str, settings: Settings | None) -> Iterator[str]:
    if settings is None:
        return
    terms = {"hidden": settings.hidden, "extra": settings.extra}
    problems = argument_problems(settings.constructor(), node, settings.derived, **terms)
    yield from (f"{path}: {problem}" for problem in problems)
    yield from (f"{path}: '{name}' is missing." for name in settings.extra if node.get(name) is None)


def dotted(keys: tuple[str, ...]) -> str:
    """``("pipeline", "2", "size")`` as ``"pipeline[2].size"``."""
    return "".join(f"[{key}]" if key.isdigit() else f".{key}" for key in keys).lstrip(".")
