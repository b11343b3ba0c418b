"""How a run ends: an exit status, and a sentence where something is for the user to mend."""

import logging
import sys
from collections.abc import Callable
from typing import Any

from x2vlm.building import ConfigError

FAILED, NOT_STARTED, INTERRUPTED = 1, 2, 130


class Outcome:
    """Does the parts of a command in turn, and remembers which one ended it.

    Attributes:
        status: Exit status; 0 as long as nothing went wrong.
        runner: The runner, as soon as there is one: then messages go into its log too.
    """

    def __init__(self) -> None:
        self.status = 0
        self.runner: Any = None

    def prepare(self, work: Callable[[], Any]) -> Any:
        """Do what comes before any step: configs, data, model. Mistakes there are the user's to mend."""
        return self._guarded(work, NOT_STARTED, ConfigError, FileNotFoundError)

    def run(self, work: Callable[[], Any]) -> Any:
        """Do the work itself. Of its errors only those are told in a sentence that were made to be."""
        from x2vlm.data.bad_records import TooManyBadRecordsError
        from x2vlm.engine.checkpoint.integrity import SaveError
        from x2vlm.engine.distributed.launch import StalledError
        from x2vlm.engine.failures.data_workers import DataStoppedError
        from x2vlm.engine.failures.out_of_memory import StepOutOfMemoryError
        from x2vlm.engine.total_loss import NotFiniteError

        told = (ConfigError, TooManyBadRecordsError, NotFiniteError, SaveError, DataStoppedError, StalledError)
        return self._guarded(work, FAILED, *told, StepOutOfMemoryError)

    def _guarded(self, work: Callable[[], Any], status: int, *expected: type[Exception]) -> Any:
        if self.status:
            return None
        try:
            return work()
        except expected as error:
            self.end(status, str(error))
        except KeyboardInterrupt:
            self.end(INTERRUPTED, "Interrupted.")
        return None

    def end(self, status: int, sentence: str) -> None:
        """End with this status, and say why."""
        self.status = status
        sys.stderr.write(f"{sentence}\n")
        logger = None if self.runner is None else self.runner.logger
        for handler in logger.handlers if logger else ():
            if isinstance(handler, logging.FileHandler):  # the terminal has it already, without the logger's ornaments
                handler.handle(logger.makeRecord(logger.name, logging.ERROR, __file__, 0, sentence, (), None))


def leave_processes() -> None:
    """Part from the other processes, if there were any."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
