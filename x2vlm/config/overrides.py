"""Apply changes from the command line to a config one by one, so that each problem is reported with its key."""

from typing import Any

from mmengine.config import Config

from x2vlm.argument_checks import suggestion
from x2vlm.config.schema import TOP_LEVEL

# Dicts keyed by name: a new name on the command line is a misspelt one.
NAMED = ("streams", "evaluations", "model.objectives", "raw_sets", "held_out_sets")


def apply_overrides(cfg: Config, overrides: dict[str, Any]) -> list[str]:
    """Change a config in place.

    Args:
        cfg: The config.
        overrides: Values by dotted key; a number in a key is an index into a list: ``param_scheduler.0.end``.

    Returns:
        A sentence for each change that cannot be made. Those are left out.
    """
    problems = []
    for key, value in overrides.items():
        if problem := _problem(cfg, key, value):
            problems.append(f"--cfg-options {key}: {problem}")
        else:
            cfg.merge_from_dict({key: value})
    return problems


def _problem(cfg: Config, key: str, value: Any) -> str:
    names = key.split(".")
    if names[0] not in cfg and names[0] not in TOP_LEVEL:
        return f"a config has no '{names[0]}'.{suggestion(names[0], TOP_LEVEL)}"
    if isinstance(value, str) and value.strip("'\"").startswith(("dict(", "{")):
        return f"takes numbers, names and lists, not the dict {value}. Set its keys one by one: {key}.KEY=VALUE."
    node: Any = cfg
    for depth, name in enumerate(names):
        path = ".".join(names[:depth])
        if isinstance(node, list):
            if not name.isdigit() or int(name) >= len(node):
                return f"{path} is a list of {len(node)}; its entries are 0 to {len(node) - 1}, not '{name}'."
            node = node[int(name)]
        elif isinstance(node, (dict, Config)):
            if name not in node:
                is_named = path in NAMED and depth < len(names)
                return f"there is no '{name}' in {path}.{suggestion(name, node)}" if is_named else ""
            node = node[name]
        else:
            return f"{path} is {node!r}, which has no '{name}' inside."
    if isinstance(node, dict) and value is not None and not isinstance(value, dict):
        return f"this is a dict, and cannot become {value!r}. Set its keys one by one: {key}.KEY=VALUE."
    return ""
