"""A config as the text of a Python file, in the order in which it is.

MMEngine sorts the keys. But the order of objectives and streams decides which random numbers each gets and in which
order parameters stand, so a run from a sorted config would be another one.
"""

from keyword import iskeyword
from pathlib import Path
from typing import Any

from mmengine.config import Config

_LINE = 100


class OrderedConfig(Config):
    """MMEngine's config, which writes itself down in its own order."""

    @classmethod
    def of(cls, cfg: Config) -> "OrderedConfig":
        """The same config; nothing is copied."""
        ordered = cls.__new__(cls)
        ordered.__dict__.update(cfg.__dict__)
        return ordered

    @property
    def pretty_text(self) -> str:
        """The text, as :func:`config_text` gives it."""
        return config_text(self)


def config_text(cfg: Config) -> str:
    """A config as Python that MMEngine reads; keys in their order, imported names as dotted strings."""
    return "".join(f"{key} = {_text(value)}\n" for key, value in cfg.to_dict().items())


def _text(value: Any, indent: int = 0) -> str:
    """A value as an expression, on one line where it fits."""
    short = _expression(value, ", ", "", "")
    if len(short) + indent + 20 <= _LINE or not isinstance(value, (dict, list, tuple)) or not value:
        return short
    margin = " " * (indent + 4)
    return _expression(value, f",\n{margin}", f"\n{margin}", f",\n{' ' * indent}", indent + 4)


def _expression(value: Any, between: str, begin: str, end: str, indent: int | None = None) -> str:
    def inner(item: Any) -> str:
        return _expression(item, ", ", "", "") if indent is None else _text(item, indent)

    if isinstance(value, dict) and value and all(map(_is_name, value)):
        return f"dict({begin}{between.join(f'{key}={inner(item)}' for key, item in value.items())}{end})"
    if isinstance(value, dict):
        return f"{{{begin}{between.join(f'{key!r}: {inner(item)}' for key, item in value.items())}{end}}}"
    if isinstance(value, list):
        return f"[{begin}{between.join(map(inner, value))}{end}]"
    if isinstance(value, tuple):
        comma = "," if len(value) == 1 and not end else ""
        return f"({begin}{between.join(map(inner, value))}{comma}{end})"
    if isinstance(value, float) and (value != value or value in (float("inf"), -float("inf"))):
        return f"float('{value}')"
    if isinstance(value, type) or callable(value):
        return repr(f"{value.__module__}.{value.__qualname__}")
    return repr(str(value) if isinstance(value, Path) else value)


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and not iskeyword(key)
