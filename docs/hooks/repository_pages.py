"""Files of the repository that the documentation links to become pages of the site, and the links lead there.

Links in docs/ are written as they work in the repository: `../configs/demo/toy_pretrain.py`. A Markdown file from
outside docs/ (the changelog, a plugin's README) becomes a page; any other file becomes a page that shows its text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = ("CHANGELOG.md", "CONTRIBUTING.md")
LANGUAGES = {".py": "python", ".sh": "bash", ".cfg": "ini", ".toml": "toml", ".yml": "yaml", ".txt": "text"}
# Fenced blocks and inline code are passed over; then links and images, and definitions of reference links.
LINK = re.compile(r"(```.*?```|`[^`\n]*`)|(\]\(|^\[[^\]\n]+\]:\s+)([^)\s]+)", flags=re.DOTALL | re.MULTILINE)
REMOTE = ("http://", "https://", "mailto:", "#")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside docs/ that a page links to, and for what those pages link to."""
    waiting = [ROOT / name for name in ALWAYS]
    for file in files.documentation_pages():
        if file.src_uri.endswith(".md"):
            waiting += outside(ROOT / "docs" / file.src_uri)
    while waiting:
        path = waiting.pop()
        uri = site_uri(path)
        if files.get_file_from_path(uri) is None:
            files.append(File.generated(config, uri, content=page_text(path)))
            waiting += outside(path) if path.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    origin = repository_path(page.file.src_uri)
    if origin.suffix != ".md":
        return markdown

    def resolved(match: re.Match) -> str:
        target = linked(origin, match[3]) if match[2] else None
        if target is None:
            return match[0]
        start = posixpath.dirname(page.file.src_uri)
        _, mark, anchor = match[3].partition("#")
        return match[2] + posixpath.relpath(site_uri(target), start or ".") + mark + anchor

    return LINK.sub(resolved, markdown)


def outside(path: Path) -> list[Path]:
    """The files outside docs/ that a Markdown file links to."""
    links = [linked(path, match[3]) for match in LINK.finditer(path.read_text("utf-8")) if match[2]]
    return [target for target in links if target and not target.is_relative_to(ROOT / "docs")]


def linked(origin: Path, link: str) -> Path | None:
    """The file that a link in a Markdown file names; None for addresses, and for what is not in the repository."""
    if link.startswith(REMOTE):
        return None
    target = (origin.parent / link.partition("#")[0]).resolve()
    target = target / "README.md" if target.is_dir() else target
    return target if target.is_file() and target.is_relative_to(ROOT) else None


def site_uri(path: Path) -> str:
    """Where a file of the repository stands in the site's sources."""
    if path.is_relative_to(ROOT / "docs"):
        return path.relative_to(ROOT / "docs").as_posix()
    uri = path.relative_to(ROOT).as_posix()
    if uri in ALWAYS:
        return uri
    return f"source/{uri}" if path.suffix == ".md" else f"source/{uri}.md"


def repository_path(uri: str) -> Path:
    """The file of the repository that a page of the site's sources was made from."""
    if uri in ALWAYS:
        return ROOT / uri
    if not uri.startswith("source/"):
        return ROOT / "docs" / uri
    path = ROOT / uri.removeprefix("source/")
    return path if path.is_file() else path.with_suffix("")


def page_text(path: Path) -> str:
    """The Markdown of a page: the file itself, or its text in a code block under its name."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        return text
    return f"# {path.relative_to(ROOT).as_posix()}\n\n````{LANGUAGES.get(path.suffix, 'text')}\n{text}````\n"
