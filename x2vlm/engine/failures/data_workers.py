"""When the data fail in the middle of a run: the state is brought back to the end of the last step, saved, and told."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from x2vlm.data.bad_records import TooManyBadRecordsError
from x2vlm.distributed import is_spread, rank
from x2vlm.engine.checkpoint.checkpoint_hook import CheckpointHook
from x2vlm.engine.checkpoint.integrity import SaveError
from x2vlm.engine.hooks.logging_hooks import hook_of


class DataStoppedError(RuntimeError):
    """Data that cannot be read any more: a process that prepares them has died, or files have gone."""


class WorkerWatch:
    """Hear of the death of a data loader's process between two steps, where it can be dealt with, not within one.

    torch raises its error wherever the main process happens to be, for example in the middle of an update.
    """

    def __init__(self) -> None:
        self.error: RuntimeError | None = None
        self._theirs: Any = None

    def start(self) -> None:
        """Stand before torch's handler; the loaders have been started."""
        theirs = signal.getsignal(signal.SIGCHLD)
        try:
            if callable(theirs):
                signal.signal(signal.SIGCHLD, self._note)
                self._theirs = theirs
        except ValueError:  # Python lets only the main thread listen, and torch listens there only, too
            self._theirs = None

    def stop(self) -> None:
        """Give the signal back."""
        if self._theirs is not None:
            signal.signal(signal.SIGCHLD, self._theirs)
            self._theirs = None

    def check(self) -> None:
        """Raise what was heard since.

        Raises:
            RuntimeError: If such a process has died.
        """
        if self.error is not None:
            raise self.error

    def _note(self, number: int, frame: FrameType | None) -> None:
        try:
            self._theirs(number, frame)
        except RuntimeError as error:
            self.error = error


@contextmanager
def saving_if_data_fail(runner: Any, rewind: Callable[[], None]) -> Iterator[None]:
    """Around what reads data between two steps: an error takes back what was read, and the run is saved as it was.

    Args:
        runner: The runner.
        rewind: Brings the streams back to the end of the last step.

    Raises:
        DataStoppedError: For a dead process or files that have gone; other errors are raised as they are.
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
            runner.logger.error(f"{type(error).__name__}: the run cannot go on. {saved}")
            raise
        raise DataStoppedError(f"{sentence}\n{saved}") from error


def _sentence(error: Exception) -> str | None:
    if isinstance(error, RuntimeError) and "DataLoader worker" in str(error):
        return (
            f"a process that prepares batches has died: {error} Mostly the machine ran out of memory (see dmesg): give "
            "the streams fewer num_workers or smaller batches."
        )
    if isinstance(error, OSError):
        return f"the data cannot be read any more: {error} Bring the files back, or take them out of the config."
    return None


def save_last_step(runner: Any) -> str:
    """Save what the last step left, if a checkpoint can hold it; gives the sentence that says so."""
    keeper, done, before = hook_of(runner, CheckpointHook), runner.iter, last_checkpoint(runner)
    sharded = any(is_spread(parameter) for parameter in runner.model.parameters())
    # One process alone can save neither weights that are spread over all, nor what is not in its files.
    if keeper is None or not done or rank() or sharded or done % runner.optim_wrapper._accumulative_counts:
        return before
    if not str(keeper.last_ckpt or runner.loaded_from or "").endswith(keeper.filename_tmpl.format(done)):
        try:
            keeper.save_now(runner, done)
        except SaveError as error:
            return f"{error} {before}"
    return f"{keeper.filename_tmpl.format(done)} is saved, with all steps up to here; go on from it with --resume."


def last_checkpoint(runner: Any) -> str:
    """The sentence that says which checkpoint there is."""
    keeper = hook_of(runner, CheckpointHook)
    last = keeper and (keeper.last_ckpt or runner.loaded_from)
    return f"The last checkpoint is {last}; go on from it with --resume." if last else "There is no checkpoint."
