"""How much one record may be: what is larger is a bad record, and not what fills the memory or stops the others."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from x2vlm.building import suggestion

MAX_BYTES = 256 * 2**20

_DEEPEST = 32  # what is nested much deeper cannot be sent from a worker process, which then waits for ever


@dataclass(frozen=True)
class Limits:
    """Limits of a record before anything in it is decoded. Those of images and videos belong to what decodes them.

    Attributes:
        max_bytes: Of one line or entry of an annotation file, and of one member of a tar file.
        max_chars: Of each text.
        max_elems: Of each list: elements, captions, answers, images that are read together, frames, clips.
    """

    max_bytes: int = MAX_BYTES
    max_chars: int = 1_000_000
    max_elems: int = 10_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"limits: {name} is {value!r}; expected a whole number of 1 or more")

    @classmethod
    def of(cls, options: "dict | Limits | None") -> "Limits":
        """Limits as a config gives them.

        Raises:
            ValueError: If an option has no such name, or is no limit.
        """
        if isinstance(options, Limits):
            return options
        accepted = [field.name for field in fields(cls)]
        for name in options or {}:
            if name not in accepted:
                near = suggestion(name, accepted)
                raise ValueError(f"limits has no option '{name}'.{near} Accepted: {', '.join(accepted)}.")
        return cls(**(options or {}))

    def excess(self, record: Mapping[str, Any]) -> str | None:
        """What is too long, too many or too deep in a record, in a sentence; None if nothing is."""
        level: list[tuple[str, Any]] = list(record.items())
        for _ in range(_DEEPEST):
            inner: list[tuple[str, Any]] = []
            for name, value in level:
                if isinstance(value, str):
                    if len(value) > self.max_chars:
                        return (
                            f"{name}: a text of {len(value):,} characters, over {self.max_chars:,} (limits.max_chars)"
                        )
                elif isinstance(value, list | tuple):
                    if len(value) > self.max_elems:
                        return f"{name}: {len(value):,} entries, over {self.max_elems:,} (limits.max_elems)"
                    inner += [(name, one) for one in value]
                elif isinstance(value, dict):
                    if len(value) > self.max_elems:
                        return f"{name}: {len(value):,} entries, over {self.max_elems:,} (limits.max_elems)"
                    inner += [(name, one) for one in value.values()]
            if not inner:
                return None
            level = inner
        return f"{level[0][0]}: nested deeper than {_DEEPEST} levels"
