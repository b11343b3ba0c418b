"""Executing a config file, with sentences for what goes wrong in it; and its values as plain dicts."""

import ast
import re
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.config import Config, ConfigDict

from x2vlm.argument_checks import suggestion
from x2vlm.building import LAZY, ConfigError
from x2vlm.config.config_source import ConfigSource, display_path, format_location
from x2vlm.config.shipped import is_shipped


@contextmanager
def unresolved() -> Iterator[None]:
    """Inside, lazy imports of a config are returned as lazy objects, not imported on access."""
    before, ConfigDict.lazy = ConfigDict.lazy, True
    try:
        yield
    finally:
        ConfigDict.lazy = before


def run_config(path: Path, source: ConfigSource | None) -> Config:
    """Execute a config; what goes wrong in it becomes a sentence with file and line."""
    if source is None or not any(map(is_shipped, source.statements())):
        return _executed(path, {str(part.path): part.path for part in source.chain()} if source else {})
    with TemporaryDirectory(prefix="x2vlm-config-") as folder:
        copies = copy_side_by_side(source, Path(folder))
        cfg = _executed(Path(next(iter(copies))), copies)
    _name_originals(plain_values(cfg), copies)
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
        if isinstance(error, RecursionError):
            raise ConfigError("a file is a base of itself: follow _base_ from file to file.") from error
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
        if isinstance(error, AttributeError) and "'dict' object" in str(error) and name in set(_all_keys(names)):
            return f"'{name}' is in a plain dict, which has no attributes: write ['{name}'] in the place of .{name}."
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


def copy_side_by_side(source: ConfigSource, folder: Path) -> dict[str, Path]:
    """Write a config and all it is based on into a folder, line by line as they are but for the names of their bases.

    Returns:
        By the path of each copy what it is a copy of; the first is the config itself.
    """
    numbers = {part.path: number for number, part in enumerate({part.path: part for part in source.chain()}.values())}
    copies = {}
    for part in {part.path: part for part in source.chain()}.values():
        lines = part.path.read_text(encoding="utf-8").splitlines()
        statements = [node for block in part.tree.body if isinstance(block, ast.With) for node in block.body]
        for node, base in zip(statements, part.bases, strict=True):
            beside = ast.ImportFrom(module=f"part_{numbers[base.path]}", names=node.names, level=1)
            blank = [""] * (node.end_lineno - node.lineno)
            lines[node.lineno - 1 : node.end_lineno] = [" " * node.col_offset + ast.unparse(beside), *blank]
        copy = folder.resolve() / f"part_{numbers[part.path]}.py"
        copy.write_text("\n".join(lines) + "\n", encoding="utf-8")
        copies[str(copy)] = part.path
    return copies


def _name_originals(node: Any, copies: Mapping[str, Path]) -> None:
    """Let imports that a config keeps say which file of the user's they stand in, not which copy."""
    if isinstance(node, (dict, list)):
        for value in node.values() if isinstance(node, dict) else node:
            _name_originals(value, copies)
    elif isinstance(node, LAZY) and node.location:
        file, _, line = node.location.partition(", line ")
        if (original := copies.get(str(Path(file).resolve()))) is not None:
            node.location = f"{display_path(original)}, line {line}"


def plain_values(cfg: Config) -> dict[str, Any]:
    """A config as dicts and lists, its lazy imports left as they are."""
    with unresolved():
        return _to_plain(cfg)


def _to_plain(node: Any) -> Any:
    """A config as dicts and lists, its imports left as they are."""
    if isinstance(node, (dict, Config)):
        return {key: _to_plain(value) for key, value in node.items()}
    return [_to_plain(item) for item in node] if isinstance(node, (list, tuple)) else node
