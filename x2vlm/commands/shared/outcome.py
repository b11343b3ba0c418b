"""Exit status of a command, and one sentence on standard error for an error that the user can mend."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from x2vlm.building import ConfigError

FAILED, NOT_STARTED, INTERRUPTED = 1, 2, 130


class Outcome:
    """Runs the stages of a command in turn; after one has failed, the others are skipped.

    Attributes:
        status: Exit status; 0 as long as nothing failed.
        runner: The runner, once there is one: messages then go into its log, too.
    """

    def __init__(self) -> None:
        self.status = 0
        self.runner: Any = None

    def prepare(self, work: Callable[[], Any]) -> Any:
        """Run what comes before the first step: config, data, model. Errors there are the user's to mend."""
        return self._guarded(work, NOT_STARTED, ConfigError, FileNotFoundError)

    def run(self, work: Callable[[], Any]) -> Any:
        """Run the work itself. Only errors made for the user become a sentence; others keep their traceback."""
        if self.status:
            return None  # before the imports, which take seconds
        from x2vlm.data.bad_record_log import TooManyBadRecordsError
        from x2vlm.engine.checkpoint.atomic_save import SaveError
        from x2vlm.engine.distributed.stall import StalledError
        from x2vlm.engine.failures.data_workers import DataStoppedError
        from x2vlm.engine.failures.nan_policy import NotFiniteError
        from x2vlm.engine.failures.out_of_memory import StepOutOfMemoryError

        failures = (NotFiniteError, StepOutOfMemoryError, SaveError, StalledError)
        return self._guarded(work, FAILED, ConfigError, TooManyBadRecordsError, DataStoppedError, *failures)

    def _guarded(self, work: Callable[[], Any], status: int, *expected: type[Exception]) -> Any:
        if self.status:
            return None
        try:
            return work()
        except expected as error:
            if isinstance(error, ConfigError) and not getattr(self.runner, "has_begun", True):
                status = NOT_STARTED  # the runner builds and loads the last parts itself
            self.end(status, str(error))
        except KeyboardInterrupt:
            self.end(INTERRUPTED, "Interrupted.")
        return None

    def end(self, status: int, sentence: str) -> None:
        """Set the exit status, and write why to standard error and the log file."""
        self.status = status
        sys.stderr.write(f"{sentence}\n")
        logger = None if self.runner is None else self.runner.logger
        for handler in logger.handlers if logger else ():
            if isinstance(handler, logging.FileHandler):  # the terminal has it already, without the logger's prefix
                handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, sentence, (), None))


def leave_processes() -> None:
    """Destroy the process group, if there is one."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
