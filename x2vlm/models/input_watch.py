"""Whether a part of a plugin changes in place what it was given: other parts read the same tensors afterwards."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cached_property
from typing import Any

from torch import Tensor

Watched = list[tuple[str, Tensor, int]]
"""Name, tensor, and how often it had been written to."""


def watch(**given: Any) -> Watched:
    """Remember how often the tensors among ``given``, and in tuples, lists and dataclasses, were written to.

    What is written through ``.data`` escapes: torch does not count it.
    """
    found: dict[int, tuple[str, Tensor]] = {}
    for key, value in given.items():
        for name, tensor in _tensors(key, value):
            found.setdefault(id(tensor), (name, tensor))  # a view of the whole shares tensors: the first name counts
    return [(name, tensor, tensor._version) for name, tensor in found.values()]


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
    elif isinstance(value, tuple | list):
        for number, part in enumerate(value):
            yield from _tensors(f"{name}[{number}]", part)
    elif is_dataclass(value) and not isinstance(value, type):
        cached = [key for key, kind in vars(type(value)).items() if isinstance(kind, cached_property)]
        for key in (*(field.name for field in fields(value)), *(key for key in cached if key in vars(value))):
            yield from _tensors(f"{name}.{key}", getattr(value, key))
