"""Arguments that a constructor accepts by name, and suggestions for misspelt names."""

import ast
import difflib
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin


def arguments(constructor: Callable[..., Any]) -> tuple[dict[str, inspect.Parameter], bool]:
    """The arguments that a constructor accepts by name.

    ``**kwargs`` that a class only hands to ``super().__init__`` stand for the arguments of its base class.

    Returns:
        The named parameters, and whether any other name is accepted too.
    """
    try:
        signature = inspect.signature(constructor)
    except (TypeError, ValueError):  # some builtins have none
        return {}, True
    parameters = dict(signature.parameters)
    catch_all = [p.name for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = {name: p for name, p in parameters.items() if p.kind in by_name}
    if not catch_all:
        return named, False
    owner = next((c for c in getattr(constructor, "__mro__", ()) if "__init__" in vars(c)), None)
    if owner is None or not _only_passes_up(vars(owner)["__init__"], catch_all[0]):
        return named, True
    parent = constructor.__mro__[constructor.__mro__.index(owner) + 1]
    inherited, is_open = arguments(parent)
    passed_up = _passed_up(vars(owner)["__init__"], parent)
    return {name: p for name, p in inherited.items() if name not in passed_up} | named, is_open


def argument_problems(
    constructor: Callable[..., Any],
    given: Iterable[str],
    derived: Iterable[str] = (),
    *,
    hidden: Iterable[str] = (),
    extra: Iterable[str] = (),
    title: str = "",
) -> list[str]:
    """Problems of calling a constructor with these argument names, one sentence each.

    Args:
        constructor: A class or function.
        given: The names that are given.
        derived: Names that are filled in where they are not given.
        hidden: Names that only the code fills in.
        extra: Names that are accepted and taken out before the call.
        title: Name of the constructor in messages; its own name if empty.
    """
    named, is_open = arguments(constructor)
    hidden, extra, known = set(hidden), set(extra), {*given, *derived}
    offered = sorted({*named, *extra} - hidden)
    title = title or getattr(constructor, "__name__", str(constructor))
    accepted = f"Accepted: {', '.join(offered)}." if offered else "It takes none."
    problems = []
    for name in given:
        if name in offered:
            continue  # as nearly always; a suggestion takes as long as all else
        # For a constructor that accepts any name, near misses of its own names are reported.
        near = suggestion(name, offered, likeness=0.9 if is_open else 0.6)
        if name in hidden or near or not is_open:
            problems.append(f"{title} has no argument '{name}'.{near} {accepted}")
    for name in named:
        if named[name].default is inspect.Parameter.empty and name not in known | hidden:
            problems.append(f"{title} needs the argument '{name}'.")
    return problems


_PLAIN = {int: "a whole number", float: "a number", bool: "True or False", NoneType: "None"}


def value_problems(constructor: Callable[..., Any], given: Mapping[str, Any]) -> list[str]:
    """Values that cannot be what a constructor's annotations say: words and lists for numbers, numbers for switches.

    Only arguments that are annotated as numbers, switches or None are looked at.

    Returns:
        ``"depth: 'two' is no whole number."``, one sentence each.
    """
    problems = []
    for name, parameter in arguments(constructor)[0].items():
        hint = parameter.annotation
        kinds = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
        kinds = {kind for kind in kinds if getattr(kind, "__name__", "") != "Tensor"} or kinds  # a config holds none
        if name not in given or not all(isinstance(kind, type) and kind in _PLAIN for kind in kinds):
            continue
        value, allowed = given[name], tuple(kinds | ({int} if float in kinds else set()))
        if not isinstance(value, (str, list, tuple, dict, bool, int, float, NoneType)):
            continue  # an import, or something that was built already
        fits = bool in kinds or kinds & {int, float} if isinstance(value, bool) else isinstance(value, allowed)
        if not fits and isinstance(value, float) and int in kinds and value.is_integer():
            continue
        if not fits:
            wanted = " or ".join(_PLAIN[kind] for kind in _PLAIN if kind in kinds)
            problems.append(f"{name}: {value!r} is not {wanted}.")
    return problems


def suggestion(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """``" Did you mean 'depth'?"`` where a known name is near, else an empty string. Case does not matter.

    Args:
        name: What was given.
        known: The accepted names.
        likeness: How near it must be, from 0 to 1.
    """
    by_lower: dict[str, list[str]] = {}
    for candidate in map(str, known):
        by_lower.setdefault(candidate.lower(), []).append(candidate)
    nearest = difflib.get_close_matches(str(name).lower(), by_lower, n=1, cutoff=likeness)
    best = difflib.get_close_matches(str(name), by_lower[nearest[0]], n=1, cutoff=0) if nearest else []
    return f" Did you mean '{best[0]}'?" if best else ""


@lru_cache(maxsize=1024)
def _super_calls(init: Callable[..., Any]) -> tuple[ast.AST | None, list[ast.Call]]:
    """The syntax tree of an ``__init__`` and its calls of ``super().__init__``; no tree where there is no source."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return None, []
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return tree, [call for call in calls if ast.unparse(call.func) == "super().__init__"]


def _only_passes_up(init: Callable[..., Any], catch_all: str) -> bool:
    """Whether the only use of ``**catch_all`` is in a call of ``super().__init__``."""
    tree, calls = _super_calls(init)
    handed = sum(k.arg is None and ast.unparse(k.value) == catch_all for call in calls for k in call.keywords)
    used = sum(isinstance(node, ast.Name) and node.id == catch_all for node in ast.walk(tree)) if tree else 0
    return handed > 0 and handed == used


def _passed_up(init: Callable[..., Any], parent: type) -> set[str]:
    """The base-class arguments that an ``__init__`` fills itself: giving them again would be an error."""
    calls = _super_calls(init)[1]
    by_place = [sum(not isinstance(value, ast.Starred) for value in call.args) for call in calls]
    in_order = [name for name in inspect.signature(parent).parameters][: max(by_place, default=0)]
    return {*in_order, *(keyword.arg for call in calls for keyword in call.keywords if keyword.arg)}
