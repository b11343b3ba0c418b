"""``load_config``: read a config, change it from the command line, and refuse it with every problem at once."""

import ast
import importlib
import logging
import re
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FunctionType, ModuleType
from typing import Any

from mmengine.config import Config, ConfigDict, DictAction

from x2vlm.building import LAZY, ConfigError, imported
from x2vlm.config.config_source import ConfigSource, describe_missing_file, display_path, format_location, read_source
from x2vlm.config.cross_checks import doubts
from x2vlm.config.overrides import apply_overrides
from x2vlm.config.schema import TOP_LEVEL
from x2vlm.config.schema_check import tree_problems
from x2vlm.config.shipped import copy_side_by_side, is_shipped
from x2vlm.config_text import OrderedConfig
from x2vlm.plugins import load_plugins, use_plugins
from x2vlm.signatures import suggestion

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
        cfg = _run(path, source)
        problems = _lost_removals(source)
    except ConfigError as error:
        raise ConfigError(report(path, [str(error)])) from error
    problems += _imports(cfg)
    asked = [module for part in source.chain() for module in part.modules()] if source else []
    use_plugins([part.path for part in source.chain()] if source else [path], [*asked, *_custom_imports(cfg)])
    with _unresolved():
        problems += _strange_names(cfg, source)
        _follow_removals(cfg, source)
        problems += apply_overrides(cfg, overrides or {})
    in_tree = tree_problems(_values(cfg))
    tree_text = "\n".join(in_tree)
    problems = [problem for problem in problems if problem not in tree_text] + in_tree
    if problems:
        raise ConfigError(report(path, problems))
    for sentence in doubts(_values(cfg)):
        log.warning("%s: %s", display_path(path), sentence)
    return OrderedConfig.of(cfg)


def report(path: str | Path, problems: Sequence[str]) -> str:
    """``configs/x.py: 2 problems``, and a line for each."""
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return "\n  ".join([f"{display_path(path)}: {count}", *problems])


def add_cfg_options(parser: ArgumentParser) -> None:
    """Add ``--cfg-options KEY=VALUE ...`` to a command; the parsed dict is for ``load_config``."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=CfgOptions,
        default={},
        metavar="KEY=VALUE",
        help="change the config, e.g. streams.region.weight=0 streams.image.objectives=[itc,itm]",
    )


class CfgOptions(DictAction):
    """MMEngine's ``KEY=VALUE`` pairs, with a sentence instead of a traceback for malformed ones."""

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Sequence[str], option_string: str | None = None
    ) -> None:
        """Add the pairs to the dict that is there."""
        options = dict(getattr(namespace, self.dest, None) or {})
        for pair in values:
            key, equals, value = pair.partition("=")
            if not equals:
                parser.error(f"{option_string} takes KEY=VALUE, not '{pair}'")
            if value.strip("'\"").startswith(("dict(", "{")):  # for load_config to refuse; MMEngine recurses for ever
                options[key] = value
                continue
            if value.startswith(("[", "(")) and ("dict(" in value or "{" in value):
                try:
                    options[key] = python_value(value)
                except (SyntaxError, ValueError) as error:
                    parser.error(f"{option_string} {pair}: {error}")
                continue
            try:
                options[key] = self._parse_iterable(value)
            except AssertionError:
                parser.error(f"{option_string} {pair}: a bracket is not closed")
        setattr(namespace, self.dest, options)


def python_value(text: str) -> Any:
    """A list of dicts as one types it: ``[dict(type=Flip,prob=0.5),{"type":"Resize","size":64}]``; names are strings.

    Raises:
        SyntaxError: If it is no Python.
        ValueError: If there is anything else in it than lists, dicts, numbers and names.
    """

    def value(node: ast.expr) -> Any:
        match node:
            case ast.List(elts=items):
                return [value(item) for item in items]
            case ast.Tuple(elts=items):
                return tuple(value(item) for item in items)
            case ast.Dict(keys=keys, values=values):
                return {value(key): value(item) for key, item in zip(keys, values, strict=True)}
            case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords):
                return {keyword.arg: value(keyword.value) for keyword in keywords}
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.Constant(value=constant):
                return constant
            case ast.Name(id="true" | "false" as word):
                return word == "true"
            case ast.Name() | ast.Attribute():
                return ast.unparse(node)
        raise ValueError(f"'{ast.unparse(node)}' is neither a list, a dict, a number nor a name")

    return value(ast.parse(text, mode="eval").body)


@contextmanager
def _unresolved() -> Iterator[None]:
    """Inside, lazy imports of a config are returned as lazy objects, not imported on access."""
    before, ConfigDict.lazy = ConfigDict.lazy, True
    try:
        yield
    finally:
        ConfigDict.lazy = before


def _run(path: Path, source: ConfigSource | None) -> Config:
    """Execute a config; what goes wrong in it becomes a sentence with file and line."""
    if source is None or not any(map(is_shipped, source.statements())):
        return _executed(path, {str(part.path): part.path for part in source.chain()} if source else {})
    with TemporaryDirectory(prefix="x2vlm-config-") as folder:
        copies = copy_side_by_side(source, Path(folder))
        cfg = _executed(Path(next(iter(copies))), copies)
    cfg.__dict__["_filename"] = str(path)
    return cfg


def _executed(path: Path, files: Mapping[str, Path]) -> Config:
    """The config of a file.

    Args:
        path: The file.
        files: By the path of each file that is executed the path of the file that a user knows.
    """
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except Exception as error:  # a config is code: it can raise anything
        frames = [(frame, line) for frame, line in traceback.walk_tb(error.__traceback__)]
        inside = [(f, line) for f, line in frames if str(Path(f.f_code.co_filename).resolve()) in files]
        if not inside:
            raise ConfigError(f"{type(error).__name__}: {error}") from error
        frame, line = inside[-1]
        message = _explained(error, frame.f_globals)
        file = files[str(Path(frame.f_code.co_filename).resolve())]
        raise ConfigError(message, format_location(file, line)) from error


def _explained(error: Exception, names: dict[str, Any]) -> str:
    missing = re.search(r"(?:attribute|name) '(\w+)'|^'(\w+)'$", str(error))
    if missing and isinstance(error, (AttributeError, KeyError, NameError)):
        name = missing[1] or missing[2]
        kind = "name" if isinstance(error, NameError) else "key"
        return f"there is no {kind} '{name}' here.{suggestion(name, set(_all_keys(names)))}"
    if isinstance(error, RuntimeError) and not str(error):  # MMEngine's answer to calling an import
        return "a config cannot call what it imports. Write the value, or compute it in a class."
    return f"{type(error).__name__}: {error}"


def _all_keys(node: dict[str, Any]) -> Iterator[str]:
    for key, value in dict.items(node):
        if isinstance(key, str) and not key.startswith("__"):
            yield key
            if isinstance(value, dict):
                yield from _all_keys(value)


def _imports(cfg: Config) -> list[str]:
    """Import what the config imports, so that plugins register; the problems of those that cannot be."""
    with _unresolved():
        lazy = [cfg.pop(key) for key in [key for key in cfg if isinstance(cfg[key], LAZY)]]
        custom = cfg.get("custom_imports") or {}
    problems = []
    for part in lazy:
        try:
            imported(part)
        except ConfigError as error:
            problems.append(error.message)
    for name in _custom_imports(cfg):
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the imported module raises, the config is what named it
            message = f"custom_imports: '{name}' cannot be imported: {type(error).__name__}: {error}."
            if custom.get("allow_failed_imports"):
                log.warning(message)
            else:
                problems.append(message)
    return problems


def _custom_imports(cfg: Config) -> list[str]:
    with _unresolved():
        custom = cfg.get("custom_imports")
    names = custom.get("imports") or [] if isinstance(custom, dict) else []
    return [names] if isinstance(names, str) else list(names)


def _lost_removals(source: ConfigSource | None) -> list[str]:
    """``pop`` of a key that was never there: MMEngine says nothing, and an ablation is silently its base."""
    problems = []
    for part in source.chain() if source else ():
        base_values: dict[str, Any] = {}
        for base in part.bases if part.removals() else ():
            base_values |= _values(_run(base.path, base))
        for owner_path, key, line in part.removals():
            owner: Any = base_values
            for name in owner_path.split("."):
                owner = owner.get(name) if isinstance(owner, dict) else None
            if isinstance(owner, dict) and key not in owner and owner_path.split(".")[0] not in part.assigned():
                message = f"{owner_path} has no '{key}' to remove.{suggestion(key, owner)} It has: {', '.join(owner)}."
                problems.append(f"{format_location(part.path, line)}: {message}")
    return problems


def _strange_names(cfg: Config, source: ConfigSource | None) -> list[str]:
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


def _follow_removals(cfg: Config, source: ConfigSource | None) -> None:
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


def _values(cfg: Config) -> dict[str, Any]:
    with _unresolved():
        return _to_plain(cfg)


def _to_plain(node: Any) -> Any:
    """A config as dicts and lists, its imports left as they are."""
    if isinstance(node, (dict, Config)):
        return {key: _to_plain(value) for key, value in node.items()}
    return [_to_plain(item) for item in node] if isinstance(node, (list, tuple)) else node
