"""Pickles of plain lists, dicts, texts and numbers; nothing that a pickle can name is looked up, so nothing is run."""

import pickle
from os import PathLike
from typing import Any, NoReturn

from x2vlm.data.io.paths import existing_file

# What unpickling broken bytes raises.
_BROKEN = (pickle.UnpicklingError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError)
_BROKEN = (*_BROKEN, MemoryError, UnicodeDecodeError)


class _Plain(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(
            f"it asks for {module}.{name}, and only plain lists, dicts, texts and numbers are read"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError("it names objects that are kept elsewhere")


def read_plain_pickle(path: str | PathLike, option: str) -> Any:
    """What a pickle holds, if that is plain.

    Args:
        path: The file; of Python 2 or 3.
        option: The option that named it, for messages.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is broken, or holds or does anything else. Nothing of it has been run then.
    """
    path = existing_file(path, option)
    try:
        with path.open("rb") as file:
            return _Plain(file, encoding="utf-8", errors="replace").load()
    except _BROKEN as error:
        raise ValueError(f"{option}: {path} is no pickle of plain values: {error}") from error
