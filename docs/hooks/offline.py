"""A page of the site loads nothing from another host: anything that would is a warning, and fails a strict build."""

import logging
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig

log = logging.getLogger("mkdocs.hooks.offline")
# What a browser fetches by itself. Links that somebody has to click (`<a href>`) are not among them.
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video|audio|embed)\b[^>]*?\bsrc\s*=\s*["']?((?:https?:)?//[^"'\s>]+)"""
    r"""|<link\b(?![^>]*\brel=["']?(?:canonical|alternate|prev|next)\b)[^>]*?\bhref\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""",
    flags=re.IGNORECASE,
)
STYLE = re.compile(r"""(?:@import\s+|url\()\s*["']?((?:https?:)?//[^"')\s]+)""", flags=re.IGNORECASE)


def on_post_build(config: MkDocsConfig) -> None:
    """Warn of every address that a built page or style sheet would load."""
    site = Path(config.site_dir)
    for path in sorted(site.rglob("*")):
        if path.suffix in (".html", ".css"):
            for address in remote_assets(path.read_text("utf-8"), path.suffix == ".css"):
                log.warning("%s loads %s: a page must not need a network.", path.relative_to(site), address)


def remote_assets(text: str, is_style: bool = False) -> list[str]:
    """The addresses on other hosts that a page (or style sheet) loads."""
    patterns = (STYLE,) if is_style else (LOADED, STYLE)
    return sorted({next(filter(None, match.groups())) for found in patterns for match in found.finditer(text)})
