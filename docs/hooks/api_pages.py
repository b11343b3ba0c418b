"""The API reference: one page for every package of x2vlm/, from its docstrings, so that none is forgotten or stale."""

import ast
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "x2vlm"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the pages to the navigation."""
    pages = [{name_of(folder).removeprefix("x2vlm."): uri_of(folder)} for folder in packages()]
    config.nav.append({"API reference": ["api/index.md", *pages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages themselves."""
    files.append(File.generated(config, "api/index.md", content=index_text()))
    for folder in packages():
        files.append(File.generated(config, uri_of(folder), content=package_text(folder)))
    return files


def packages() -> list[Path]:
    """The folders of the library that hold modules, the library itself first."""
    return [PACKAGE, *sorted(path.parent for path in PACKAGE.rglob("*/__init__.py") if modules(path.parent))]


def modules(folder: Path) -> list[Path]:
    """The modules of a package, those of its subpackages left out."""
    return sorted(path for path in folder.glob("*.py") if not path.stem.startswith("_"))


def name_of(path: Path) -> str:
    """The dotted name of a module or package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def uri_of(folder: Path) -> str:
    """The page of a package."""
    return f"api/{name_of(folder)}.md"


def purpose(path: Path) -> str:
    """The first line of a module's docstring."""
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split("\n\n")[0].replace("\n", " ")


def index_text() -> str:
    """The table of packages."""
    rows = [f"| [`{name_of(f)}`]({name_of(f)}.md) | {purpose(f / '__init__.py')} |" for f in packages()]
    return "\n".join(["# API reference", "", "| package | holds |", "|---|---|", *rows, ""])


def package_text(folder: Path) -> str:
    """The page of a package: what it is for, then its modules."""
    parts = [f"# {name_of(folder)}", purpose(folder / "__init__.py")]
    return "\n\n".join([*parts, *(f"::: {name_of(module)}" for module in modules(folder))]) + "\n"
