"""Errors of configs and of parts, as sentences that say where, and which part it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class ConfigError(ValueError):
    """An error of a config, as a sentence for its author.

    Args:
        message: What was given, what is accepted, what to do.
        path: Where in the config, e.g. ``"model.vision_encoder"``; put in front of the message.
    """

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path


class PartError(RuntimeError):
    """A part of a plugin broke its contract or raised what nobody expects of it.

    The message says where and which part; the cause, where there is one, has the traceback. (One argument, so that it
    travels between processes.)
    """

    @property
    def sentence(self) -> str:
        """The message alone, also where it came from a data worker with a traceback in front."""
        text = str(self)
        return text.rsplit("PartError: ", 1)[-1].strip() if text.startswith("Caught ") else text


_KNOWN_PACKAGES = ("x2vlm", "torch", "torchvision", "mmengine", "mmcv", "timm", "transformers", "builtins", "functools")


def is_foreign(part: Any) -> bool:
    """Whether an object's class (or a class, or a function) is neither this library's nor one of its packages'."""
    home = getattr(part, "__module__", None) or type(part).__module__
    return home.split(".")[0] not in _KNOWN_PACKAGES


@contextmanager
def naming_the_part(part: Any, where: str) -> Iterator[None]:
    """Around the work of a part: what a plugin's raises becomes a sentence that says where, and which part it was.

    Args:
        part: An object, a class or a function; errors of the library's own parts are left as they are.
        where: Stream and record, evaluation, or place in the config.

    Raises:
        PartError: In the place of what the part raised.
    """
    try:
        yield
    except Exception as error:
        is_explained = isinstance(error, (PartError, ConfigError)) or type(error).__name__ == "OutOfMemoryError"
        if is_explained or not is_foreign(part):
            raise
        name = getattr(part, "__name__", None) or type(part).__name__
        raise PartError(f"{where}: {name} raised {type(error).__name__}: {error}") from error
