"""Options given as dicts and names: checked against what is accepted, with the closest name in the message."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from x2vlm.building import suggestion

_T = TypeVar("_T")


def check_names(names: Iterable[Any], accepted: Iterable[str], problem: str) -> None:
    """Check that every name is accepted.

    Args:
        names: The names.
        accepted: What they may be.
        problem: The beginning of the message, e.g. ``"subset has no option"``.

    Raises:
        ValueError: If one is not: ``problem``, the name, the closest accepted one, and all accepted ones.
    """
    accepted = list(accepted)
    for name in names:
        if name not in accepted:
            near = suggestion(str(name), accepted)
            raise ValueError(f"{problem} '{name}'.{near} Accepted: {', '.join(accepted)}.")


def from_options(cls: type[_T], options: "Mapping[str, Any] | _T | None", name: str) -> _T:
    """A dataclass from a dict of its fields, as a config has it; an instance is returned as it is.

    Args:
        cls: A dataclass.
        options: A dict, an instance, or None for the defaults.
        name: The name of the options in configs, for messages.

    Raises:
        ValueError: If there is no such option, or a value is not allowed.
    """
    if isinstance(options, cls):
        return options
    check_names(options or {}, [field.name for field in fields(cls)], f"{name} has no option")
    return cls(**(options or {}))
