"""Configs that come with the library, for configs anywhere: ``from x2vlm.configs.demo.toy_pretrain import *``.

They lie in ``configs/`` of a checkout, and in ``share/x2vlm/configs`` of an installed package. MMEngine looks for bases
by relative imports only; so a config that is based on these is read from copies, side by side in a temporary folder.
"""

import ast
import site
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import x2vlm

if TYPE_CHECKING:
    from x2vlm.config.config_source import ConfigSource

PACKAGE = "x2vlm.configs"


def shipped_configs() -> Path | None:
    """The folder with the library's configs; None if they were not installed."""
    checkout = Path(x2vlm.__file__).resolve().parents[1]
    installed = [Path(prefix) / "share" / "x2vlm" / "configs" for prefix in (sys.prefix, site.getuserbase())]
    found = [*([checkout / "configs"] if (checkout / "setup.cfg").is_file() else []), *installed]
    return next((folder for folder in found if folder.is_dir()), None)


def shipped_file(module: str) -> Path:
    """The file that ``x2vlm.configs.demo.toy_pretrain`` names; it may not exist."""
    folder = shipped_configs() or Path(sys.prefix) / "share" / "x2vlm" / "configs"
    return folder.joinpath(*module.removeprefix(f"{PACKAGE}.").split(".")).with_suffix(".py")


def is_shipped(statement: ast.ImportFrom) -> bool:
    """Whether an import in ``read_base()`` names a config of the library."""
    return statement.level == 0 and (statement.module or "").startswith(f"{PACKAGE}.")


def copy_side_by_side(source: "ConfigSource", folder: Path) -> dict[str, Path]:
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
