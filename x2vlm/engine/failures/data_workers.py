"""Data that fail during a run (a dead data worker, missing files): roll back to the last step, save it, explain."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from x2vlm.data.bad_record_log import TooManyBadRecordsError
from x2vlm.engine.checkpoint.atomic_save import SaveError
from x2vlm.engine.failures.last_step import save_last_step


class DataStoppedError(RuntimeError):
    """Data cannot be read any more: a data worker has died, or files are missing."""


class WorkerWatch:
    """Note the death of a data worker and raise it between two steps, where the run can be saved.

    torch's SIGCHLD handler raises wherever the main process happens to be, for example in the middle of an update.
    """

    def __init__(self) -> None:
        self.error: RuntimeError | None = None
        self._torch_handler: Any = None

    def start(self) -> None:
        """Wrap torch's handler; called after the data workers were started."""
        handler = signal.getsignal(signal.SIGCHLD)
        try:
            if callable(handler):
                signal.signal(signal.SIGCHLD, self._note)
                self._torch_handler = handler
        except ValueError:  # Python allows handlers in the main thread only, and so torch has none
            self._torch_handler = None

    def stop(self) -> None:
        """Restore torch's handler."""
        if self._torch_handler is not None:
            signal.signal(signal.SIGCHLD, self._torch_handler)
            self._torch_handler = None

    def check(self) -> None:
        """Raise the error that was noted, if any.

        Raises:
            RuntimeError: If a data worker has died.
        """
        if self.error is not None:
            raise self.error

    def _note(self, number: int, frame: FrameType | None) -> None:
        try:
            self._torch_handler(number, frame)
        except RuntimeError as error:
            self.error = error


@contextmanager
def saving_on_data_failure(runner: Any, rewind: Callable[[], None]) -> Iterator[None]:
    """Around reading data between two steps: on an error, return the streams to the last step and save it.

    Args:
        runner: The runner.
        rewind: Resets the streams to the end of the last step.

    Raises:
        DataStoppedError: For a dead data worker or missing files; other errors are re-raised.
    """
    try:
        yield
    except SaveError:
        raise
    except Exception as error:
        rewind()
        saved = save_last_step(runner)
        if isinstance(error, TooManyBadRecordsError):
            raise TooManyBadRecordsError(f"{error}\n{saved}") from error
        sentence = _sentence(error)
        if sentence is None:
            runner.logger.error(f"{type(error).__name__}: the run cannot continue. {saved}")
            raise
        raise DataStoppedError(f"{sentence}\n{saved}") from error


def _sentence(error: Exception) -> str | None:
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return (
            f"a data worker has died: {error} Mostly the machine ran out of memory (see dmesg): give "
            "the streams fewer num_workers or smaller batches."
        )
    if isinstance(error, OSError):
        return f"the data cannot be read any more: {error} Bring the files back, or take them out of the config."
    return None
