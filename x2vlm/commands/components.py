"""``components``: every part that a config can name, with its file and the first line of its docstring."""

import argparse
import inspect
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mmengine.registry import Registry

from x2vlm.argument_checks import suggestion
from x2vlm.building import ConfigError, import_locations, lineage
from x2vlm.config.config_source import display_path
from x2vlm.config.schema import ALL_FAMILIES
from x2vlm.plugins import load_plugins, plugin_of

log = logging.getLogger("x2vlm")


@dataclass(frozen=True)
class Component:
    """One registered part.

    Attributes:
        family: Its registry, e.g. ``"vision encoder"``.
        name: In a config.
        module: That defines it.
        file: The file, as one would type it; empty where there is none.
        plugin: The plugin that brought it; None for the core.
        summary: The first line of its docstring.
    """

    family: str
    name: str
    module: str
    file: str
    plugin: str | None
    summary: str


def main(argv: Sequence[str] | None = None) -> int:
    """List components."""
    parser = argparse.ArgumentParser(prog="x2vlm components", description=__doc__)
    parser.add_argument("families", nargs="*", metavar="FAMILY", help='e.g. "vision encoder" (default: all)')
    parser.add_argument("--json", action="store_true", help="for programs: a list of objects")
    parser.add_argument("--all", action="store_true", help="also what MMEngine and mmcv bring")
    args = parser.parse_args(argv)
    names = [family.name for family in ALL_FAMILIES]
    for name in args.families:
        if name not in names:
            parser.error(f"there is no family '{name}'.{suggestion(name, names)} Families: {', '.join(names)}")
    load_plugins()
    families = [family for family in ALL_FAMILIES if not args.families or family.name in args.families]
    listed = [component for family in families for component in components(family, inherited=args.all)]
    sys.stdout.write(json.dumps([asdict(c) for c in listed], indent=2) + "\n" if args.json else table(listed))
    return 0


def components(family: Registry, inherited: bool = False) -> list[Component]:
    """The parts of one family, by name.

    Args:
        family: The family.
        inherited: Whether those of MMEngine's family of the same kind are listed too.
    """
    try:
        import_locations(family)
    except ConfigError as error:
        log.warning("%s", error)
    parts = {}
    for level in reversed(lineage(family) if inherited else [family]):
        parts |= level.module_dict
    return [_component(family.name, name, parts[name]) for name in sorted(parts, key=str.lower)]


def table(found: Sequence[Component]) -> str:
    """Components as text, family by family."""
    lines = []
    for family in dict.fromkeys(component.family for component in found):
        members = [component for component in found if component.family == family]
        width = max(len(component.name) for component in members)
        lines += [family.upper()]
        for part in members:
            origin = f"plugin {part.plugin}: {part.file}" if part.plugin else part.file or part.module
            lines += [f"  {part.name:<{width}}  {part.summary}", f"  {'':<{width}}  [{origin}]"]
        lines += [""]
    return "\n".join(lines) + "\n" if lines else "nothing is registered\n"


def _component(family: str, name: str, part: object) -> Component:
    module = getattr(part, "__module__", "") or ""
    try:
        file = display_path(inspect.getfile(part))
    except (TypeError, OSError):  # built in
        file = ""
    docstring = vars(part).get("__doc__") if isinstance(part, type) else getattr(part, "__doc__", None)
    summary = (inspect.cleandoc(docstring).splitlines() or [""])[0] if docstring else ""
    return Component(family, name, module, file, plugin_of(part), summary)
