"""Whether a part of a plugin changes in place what it was given: other parts read the same tensors afterwards."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

Watched = list[tuple[str, Tensor, int]]
"""Name, tensor, and how often it had been written to."""


def watch(**given: Any) -> Watched:
    """Remember how often the tensors among ``given``, and in dataclasses among them, were written to.

    What is written through ``.data`` escapes: torch does not count it.
    """
    return [(name, tensor, tensor._version) for key, value in given.items() for name, tensor in _tensors(key, value)]


def write_problem(part: Any, watched: Watched) -> str:
    """A sentence if a tensor has been written to since, else empty."""
    changed = [name for name, tensor, version in watched if tensor._version != version]
    if not changed:
        return ""
    listed = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
    return (
        f"{type(part).__name__} changed {listed} in place, which other parts read too. Compute a new tensor: "
        "x = x + 1, not x += 1 or x.add_(1)."
    )


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        if not value.is_inference():  # such tensors count nothing
            yield name, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _tensors(f"{name}.{field.name}", getattr(value, field.name))
