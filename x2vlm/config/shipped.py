"""Configs that come with the library, for configs anywhere: ``from x2vlm.configs.demo.toy_pretrain import *``.

They lie in ``configs/`` of a checkout, and in ``share/x2vlm/configs`` of an installed package. MMEngine looks for bases
by relative imports only; so a config that is based on these is read from copies, side by side in a temporary folder.
"""

import ast
import site
import sys
from pathlib import Path

import x2vlm

PACKAGE = "x2vlm.configs"
MODEL_FOLDERS = ("pretrain", "finetune", "zeroshot", "ablations", "demo")  # whole models without a plugin


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
