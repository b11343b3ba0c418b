"""Policy for NaN and infinite losses or gradients: stop the run, or skip the update and count it."""

from collections.abc import Mapping
from dataclasses import dataclass

from mmengine.logging import print_log

ACTIONS = ("stop", "skip")
_CURES = (
    "Check these records; lower the learning rate or lengthen the warm-up; with fp16, try bf16. "
    'train_cfg.bad_numbers=dict(action="skip") skips such updates.'
)


class NotFiniteError(RuntimeError):
    """A loss or a gradient is NaN or infinite."""


@dataclass
class BadNumbers:
    """What happens when a loss or a gradient is NaN or infinite.

    Attributes:
        action: ``"stop"`` ends the run before the update. ``"skip"`` skips the update (with accumulation all of it),
            logs a warning, and continues; in all processes if it happened in one.
        max_in_row: With ``"skip"``: so many updates in a row may be skipped; one more ends the run.
        max_dumps: Maximum number of dumps, one for each such step, in the folder ``bad_numbers`` of the work folder;
            each holds the weights. See :func:`~x2vlm.engine.failures.step_dump.replay`.
    """

    action: str = "stop"
    max_in_row: int = 10
    max_dumps: int = 3

    def __post_init__(self) -> None:
        if self.action not in ACTIONS:
            raise ValueError(f"bad_numbers.action is {self.action!r}. Accepted: {', '.join(ACTIONS)}.")
        if self.max_in_row < 1 or self.max_dumps < 0:
            raise ValueError("bad_numbers.max_in_row is counted from 1 on, max_dumps from 0 on.")
        self.in_row = self.skipped = self.dumped = 0

    def state_dict(self) -> dict[str, int]:
        """The counts, for checkpoints."""
        return {"in_row": self.in_row, "skipped": self.skipped, "dumped": self.dumped}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Restore a :meth:`state_dict`."""
        self.in_row, self.skipped, self.dumped = state["in_row"], state["skipped"], state["dumped"]

    def handle(self, description: str, iteration: int, dump: str) -> None:
        """Count a bad update, and stop the run or log a warning.

        Args:
            description: What is not finite.
            iteration: From 0.
            dump: The sentence about the dump.

        Raises:
            NotFiniteError: If the run is to stop.
        """
        self.in_row += 1
        text = f"iteration {iteration + 1}: {description}\n{dump}"
        if self.action == "stop":
            raise NotFiniteError(f"{text}\nThe run stops before the update. {_CURES}")
        if self.in_row > self.max_in_row:
            raise NotFiniteError(f"{text}\nThat is {self.in_row} updates in a row, and the run stops. {_CURES}")
        self.skipped += 1
        text = f"{text}\nThis update is skipped, {self.in_row} in a row, {self.skipped} in all."
        print_log(text, logger="current", level=30)
