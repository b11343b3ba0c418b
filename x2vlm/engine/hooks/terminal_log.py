"""What belongs on a terminal: the log without MMEngine's inventories, which are for the file."""

import logging

# Beginnings of messages that only the log file gets: pages about the machine, the config and the hooks, and advice to
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


def spare_terminal(logger: logging.Logger) -> None:
    """Keep the inventories off the handlers that write to a terminal; files still get all."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and _is_for_terminals not in handler.filters:
            handler.addFilter(_is_for_terminals)


def _is_for_terminals(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FILE_ONLY)
