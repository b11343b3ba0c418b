"""Size limits of one record: a larger one is a bad record, before it fills the memory."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from x2vlm.data.options import from_options

MAX_BYTES = 256 * 2**20

_MAX_DEPTH = 32  # what is nested much deeper cannot be sent from a worker process, which then waits for ever


@dataclass(frozen=True)
class RecordLimits:
    """Size limits of a record before decoding. Those of images and videos are options of their decoders.

    Attributes:
        max_bytes: Of one line or entry of an annotation file, and of one member of a tar file.
        max_chars: Of each text.
        max_elems: Of each list: elements, captions, answers, ``images``, frames, clips.
    """

    max_bytes: int = MAX_BYTES
    max_chars: int = 1_000_000
    max_elems: int = 10_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is not int or value < 1:
                raise ValueError(f"limits: {name} is {value!r}; expected a whole number of 1 or more")

    @classmethod
    def of(cls, options: "dict | RecordLimits | None") -> "RecordLimits":
        """Limits as a config gives them.

        Raises:
            ValueError: If an option has no such name, or is no limit.
        """
        return from_options(cls, options, "limits")

    def excess(self, record: Mapping[str, Any]) -> str | None:
        """A sentence about the first limit that a record exceeds; None if it keeps all."""
        level: list[tuple[str, Any]] = list(record.items())
        for _ in range(_MAX_DEPTH):
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
                    inner += [(name, entry) for entry in value]
                elif isinstance(value, dict):
                    if len(value) > self.max_elems:
                        return f"{name}: {len(value):,} entries, over {self.max_elems:,} (limits.max_elems)"
                    inner += [(name, entry) for entry in value.values()]
            if not inner:
                return None
            level = inner
        return f"{level[0][0]}: nested deeper than {_MAX_DEPTH} levels"
