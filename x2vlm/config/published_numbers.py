"""Numbers of published runs, and the values that the configs resolve to.

A table of tab-separated lines: what it is, the config, the key, the published value as JSON. Several keys in one line
are separated by spaces, and all of them must have the value.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from x2vlm.building import ConfigError

NUMBERS = "configs/published_numbers.tsv"
_STEP = re.compile(r"([^.\[\]]+)|\[([^\]]+)\]")


class Number(NamedTuple):
    """A line of the table."""

    item: str
    config: str
    keys: tuple[str, ...]
    published: Any


def read_numbers(path: str | Path) -> list[Number]:
    """The lines of a table; those that begin with ``#`` are remarks.

    Raises:
        ConfigError: If a line is no such line.
    """
    numbers = []
    for number, line in enumerate(Path(path).read_text("utf-8").splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            item, config, keys, published = line.split("\t")
            numbers.append(Number(item, config, tuple(keys.split()), json.loads(published)))
        except ValueError as error:
            raise ConfigError(
                f"{path}:{number}: expected item, config, keys and a JSON value, with tabs ({error})"
            ) from error
    return numbers


def value_at(cfg: Mapping[str, Any], key: str) -> Any:
    """The value at a key such as ``streams.image.dataset.pipeline[PickCaption].max_words``.

    Brackets hold the number of an entry of a list, or the type of the only entry that has it.

    Raises:
        ConfigError: If there is none.
    """
    node: Any = cfg
    for name, index in _STEP.findall(key):
        try:
            node = node[name] if name else _entry(node, index)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ConfigError(f"there is no '{name or index}'", key) from error
    return plain(node)


def _entry(node: Any, index: str) -> Any:
    if index.isdigit():
        return node[int(index)]
    found = [one for one in node if _type_of(one) == index]
    if len(found) != 1:
        raise IndexError(index)
    return found[0]


def _type_of(part: Any) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else kind.__name__


def plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | range):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def compare(numbers: Sequence[Number], load: Any) -> list[tuple[Number, str, Any, bool]]:
    """Every key of every line with the value that its config resolves to, and whether it is the published one.

    Args:
        numbers: Lines of a table.
        load: From the path of a config to the config.
    """
    configs = {config: load(config) for config in dict.fromkeys(one.config for one in numbers)}
    rows = []
    for one in numbers:
        for key in one.keys:
            try:
                value = value_at(configs[one.config], key)
            except ConfigError as error:
                value = f"({error})"
            rows.append((one, key, value, value == one.published))
    return rows
