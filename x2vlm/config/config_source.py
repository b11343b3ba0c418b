"""Static analysis of a Python config: its bases, imports, removals, and the names that it assigns and reads."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from x2vlm.argument_checks import suggestion
from x2vlm.building import ConfigError
from x2vlm.config.shipped import PACKAGE, is_shipped, shipped_configs, shipped_file


@dataclass(frozen=True)
class ConfigSource:
    """One Python config file.

    Attributes:
        path: The file.
        tree: Its syntax tree.
        bases: The files it reads inside ``read_base()``, in that order.
    """

    path: Path
    tree: ast.Module
    bases: tuple["ConfigSource", ...] = ()

    def chain(self) -> Iterator["ConfigSource"]:
        """This file, then everything it is based on."""
        yield self
        for base in self.bases:
            yield from base.chain()

    def statements(self) -> Iterator[ast.ImportFrom]:
        """The imports inside ``read_base()``, of this file and of everything it is based on."""
        for part in self.chain():
            yield from (node for block in part.tree.body if isinstance(block, ast.With) for node in block.body)

    def assigned(self) -> dict[str, int]:
        """Top-level names this file assigns, with their lines."""
        nodes = [node for node in self.tree.body if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign))]
        targets = [target for node in nodes for target in getattr(node, "targets", None) or [node.target]]
        return {target.id: target.lineno for target in targets if isinstance(target, ast.Name)}

    def imported(self) -> set[str]:
        """Names this file imports."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, (ast.Import, ast.ImportFrom)))
        return {alias.asname or alias.name for node in nodes for alias in node.names}

    def modules(self) -> set[str]:
        """The modules this file imports from, bases not included."""
        nodes = [node for node in self.tree.body if isinstance(node, (ast.Import, ast.ImportFrom))]
        named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        return named | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}

    def read(self) -> set[str]:
        """Names this file uses the value of."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, ast.Name))
        return {node.id for node in nodes if isinstance(node.ctx, ast.Load)}

    def removals(self) -> list[tuple[str, str, int]]:
        """Keys that ``model.objectives.pop("itm")`` or ``del`` remove, as ``("model.objectives", "itm", line)``."""
        removals = [_popped(node) for node in self.tree.body if isinstance(node, ast.Expr)]
        deleted = [target for node in self.tree.body if isinstance(node, ast.Delete) for target in node.targets]
        removals += [_deleted(target) for target in deleted]
        return [item for item in removals if item and re.fullmatch(r"[\w.]+", item[0])]


def read_source(path: Path, _ancestors: tuple[Path, ...] = ()) -> ConfigSource:
    """Parse a config file and its bases, without running any of them.

    Raises:
        ConfigError: If one does not exist, has a syntax error, is its own base, or imports what a config cannot.
    """
    path = path.resolve()
    if path in _ancestors:
        raise ConfigError(
            f"{display_path(path)} is a base of itself: {' -> '.join(p.name for p in (*_ancestors, path))}."
        )
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(
            f"syntax error: {error.msg}: {(error.text or '').strip()}", format_location(path, error.lineno)
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{display_path(path)} is not a UTF-8 text file: {error}.") from error
    _refuse_standard_library(path, tree)
    blocks = [node for node in tree.body if isinstance(node, ast.With)]
    bases = [_base_path(path, statement) for block in blocks for statement in block.body]
    return ConfigSource(path, tree, tuple(read_source(base, (*_ancestors, path)) for base in bases))


def format_location(path: Path, line: int | None) -> str:
    """``"configs/x.py, line 3"``."""
    return display_path(path) if line is None else f"{display_path(path)}, line {line}"


def display_path(path: Path | str) -> str:
    """A path relative to the current directory where it lies inside, else absolute."""
    path = Path(path).resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def describe_missing_file(path: Path) -> str:
    """A sentence about a file that does not exist, with the nearest name in its folder."""
    if path.is_dir():
        return f"{display_path(path)} is a folder; name a config file in it."
    if (shipped := _shipped_namesake(path)) is not None:
        return f"{display_path(path)} does not exist. The library's config of that name is {shipped}."
    neighbours = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"{display_path(path)} does not exist.{suggestion(path.name, neighbours)}"


def _shipped_namesake(path: Path) -> Path | None:
    """The config of the library that is named alike below its folder ``configs``."""
    folder, (_, below, name) = shipped_configs(), path.as_posix().rpartition("configs/")
    return folder / name if folder is not None and below and (folder / name).is_file() else None


def _popped(node: ast.Expr) -> tuple[str, str, int] | None:
    match node.value:
        case ast.Call(func=ast.Attribute(value=owner, attr="pop"), args=[ast.Constant(value=str(key)), *_]):
            return ast.unparse(owner), key, node.lineno
    return None


def _deleted(target: ast.expr) -> tuple[str, str, int] | None:
    match target:
        case ast.Attribute(value=owner, attr=key) | ast.Subscript(value=owner, slice=ast.Constant(value=str(key))):
            return ast.unparse(owner), key, target.lineno
    return None


def _base_path(path: Path, node: ast.stmt) -> Path:
    if not isinstance(node, ast.ImportFrom) or not node.module:
        raise ConfigError(
            "only 'from .file import *' may stand inside read_base().", format_location(path, node.lineno)
        )
    if is_shipped(node):
        base = shipped_file(node.module)
        if not base.is_file():
            near = describe_missing_file(base) if base.parent.is_dir() else f"{base} does not exist."
            raise ConfigError(f"base config not found: {near}", format_location(path, node.lineno))
        return base
    if node.level == 0:
        raise ConfigError(
            f"'from {node.module} import ...' inside read_base() must be relative: start it with a dot, as in "
            f"'from .{node.module.split('.')[-1]} import *'. Configs of the library: 'from {PACKAGE}.demo.toy_pretrain "
            "import *'.",
            format_location(path, node.lineno),
        )
    folder = path.parent
    for _ in range(node.level - 1):
        folder = folder.parent
    base = folder.joinpath(*node.module.split(".")).with_suffix(".py")
    if not base.is_file():
        _, is_config, name = f".{node.module}".partition(".configs.")
        shipped = is_config and shipped_file(f"{PACKAGE}.{name}").is_file()
        hint = f" Outside the repository write 'from {PACKAGE}.{name} import *'." if shipped else ""
        message = f"base config not found: {describe_missing_file(base)}{hint}"
        raise ConfigError(message, format_location(path, node.lineno))
    return base


def _refuse_standard_library(path: Path, tree: ast.Module) -> None:
    """In a virtual environment MMEngine treats ``import os`` as a lazy part, and fails without a message."""
    for node in tree.body:
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        for module in modules:
            if module.split(".")[0] in sys.stdlib_module_names:
                raise ConfigError(
                    f"a config cannot import '{module}', of the standard library. Write the value instead.",
                    format_location(path, node.lineno),
                )
