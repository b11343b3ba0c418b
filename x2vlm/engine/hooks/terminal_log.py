"""Terminal output of the log: without MMEngine's long listings, which go to the log file only."""

import logging

# Prefixes of messages for the log file only: long listings of machine, config and hooks, and deprecations that concern
# MMEngine's own developers.
_FILE_ONLY = (
    "\n------",
    "Config:",
    "Hooks will be executed",
    "Distributed training is not used",
    "Exp name:",
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


def filter_terminal_log(logger: logging.Logger) -> None:
    """Filter the long listings from handlers that write to a terminal; file handlers still write all."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and _is_for_terminal not in handler.filters:
            handler.addFilter(_is_for_terminal)


def _is_for_terminal(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FILE_ONLY)
