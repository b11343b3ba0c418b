"""One training at a time in a work folder: a second one would write the same files."""

import fcntl
import os
from pathlib import Path
from typing import BinaryIO

from x2vlm.weights.checkpoint_file import CheckpointError

LOCK = ".training"  # in the work folder, while a training runs there; holds its process id

_held: dict[Path, BinaryIO] = {}


def claim(work_dir: str | Path) -> None:
    """Take a work folder for this process, until :func:`release` or its end, whatever ends it.

    The lock is one of the kernel (``fcntl``), which forked workers do not inherit, so nothing is left of it when the
    process is killed. Where the file system has no locks, or the file cannot be opened, nothing is checked.

    Raises:
        CheckpointError: If another process is training in it.
    """
    folder = Path(work_dir).resolve()
    if folder in _held:
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        file = (folder / LOCK).open("a+b")
    except OSError:  # the file of another user, whose run ended; that the folder can be written is checked elsewhere
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:  # EAGAIN or EACCES, by system
        file.seek(0)
        process = file.read(20).decode(errors="replace").strip()
        file.close()
        raise CheckpointError(
            f"{work_dir}: process {process or 'unknown'} is training in this folder, and two would overwrite each "
            "other's checkpoints. Wait for it, stop it, or give this run a folder of its own: --work-dir DIR."
        ) from error
    except OSError:  # no locks here
        file.close()
        return
    file.truncate(0)
    file.write(f"{os.getpid()}\n".encode())
    file.flush()
    _held[folder] = file


def release(work_dir: str | Path) -> None:
    """Let others train in a work folder that this process has claimed; nothing happens if it has not."""
    file = _held.pop(Path(work_dir).resolve(), None)
    if file is not None:
        Path(file.name).unlink(missing_ok=True)
        file.close()
