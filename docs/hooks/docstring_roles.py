"""Cross-references of docstrings, like ``:class:`~x2vlm.X2VLM` ``, become links; a wrong one is a warning."""

import logging
import re
from collections.abc import Iterator

from griffe import Extension, GriffeLoader, Module, NameResolutionError, Object

log = logging.getLogger("mkdocs.hooks.docstring_roles")
ROLE = re.compile(r":(?:class|meth|func|mod|attr|data|exc|obj):`(~?)([\w.]+)`")
LIBRARY = "x2vlm"


class DocstringRoles(Extension):
    """Rewrites the roles of all docstrings of a package once it is read."""

    def on_package(self, *, pkg: Module, loader: GriffeLoader, **kwargs: object) -> None:
        """See griffe: called when a package and all of its modules are read."""
        for item in objects(pkg):
            if item.docstring:
                item.docstring.value = ROLE.sub(lambda match: link(match, item, loader), item.docstring.value)  # noqa: B023


def objects(item: Object) -> Iterator[Object]:
    """An object and everything that it defines itself."""
    yield item
    for member in item.members.values():
        if not member.is_alias:
            yield from objects(member)


def link(match: re.Match, item: Object, loader: GriffeLoader) -> str:
    """The link that a role becomes; a name in code style where it belongs to another library."""
    short, name = match.groups()
    shown = f"`{name.rsplit('.', 1)[-1] if short else name}`"
    path = path_of(name, item)
    if path is None or not exists(path, loader):
        if path is not None or "." not in name:
            log.warning("%s (%s): its docstring refers to %s, which does not exist.", item.path, item.filepath, name)
        return shown
    return f'<autoref identifier="{path}" optional>{shown}</autoref>'


def path_of(name: str, item: Object) -> str | None:
    """The full name of what a docstring of ``item`` calls ``name``; None if it is not of this library."""
    first, _, rest = name.partition(".")
    if first == LIBRARY:
        return name
    scope = item
    while scope is not None:
        if first in scope.members:
            return f"{scope.path}.{name}"
        scope = scope.parent
    try:
        path = item.resolve(first)
    except NameResolutionError:
        return None
    return (f"{path}.{rest}" if rest else path) if path.startswith(f"{LIBRARY}.") else None


def exists(path: str, loader: GriffeLoader) -> bool:
    """Whether there is an object of that full name: defined there, inherited, or loaded when it is first used."""
    owner, _, name = path.rpartition(".")
    try:
        holder = loader.modules_collection.get_member(owner)
    except (KeyError, AttributeError):
        return False
    return name in holder.all_members or name in (getattr(holder, "exports", None) or ())
