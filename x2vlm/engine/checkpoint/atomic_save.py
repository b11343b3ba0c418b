"""Atomic checkpoint writes: written under another name, synced, hashed, then renamed; complete or not there."""

import errno
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from x2vlm.data.io.atomic_files import sync, write_atomically
from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.weights.checkpoint_file import write_file
from x2vlm.weights.integrity import HASH, SUMS, hash_of, sha256_of_file
from x2vlm.weights.sharded_checkpoint import write_sharded_checkpoint

PART = ".part"  # suffix while a file is being written
_T = TypeVar("_T")
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SaveError(RuntimeError):
    """A checkpoint could not be written; those written before it are unchanged."""


def write_checkpoint(path: Path, content: Mapping[str, Any], sharded: bool) -> None:
    """Write a checkpoint atomically, with its hash.

    Args:
        path: A file, written by the calling process; or, sharded, a folder, which all processes write together.
        content: Tensors and plain values.
        sharded: Whether tensors are sharded over processes.

    Raises:
        SaveError: If the disk does not take it; the checkpoint that was at ``path`` before is unchanged.
    """
    try:
        if sharded:
            run_in_all_processes(lambda: _make_empty(part_of(path)) if rank() == 0 else None)
            run_in_all_processes(lambda: write_sharded_checkpoint(part_of(path), content))
            commit_folder(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_file(part_of(path), content)
            commit(path)
    except OSError as error:
        raise _save_error(path, error) from error
    finally:
        if rank() == 0:
            discard(part_of(path))


def part_of(path: Path) -> Path:
    """Where a file is written until it is complete."""
    return path.with_name(path.name + PART)


def commit(path: Path) -> None:
    """Rename ``part_of(path)`` to ``path``, with its hash beside it; both are synced to the disk.

    A crash at any moment leaves the old file or the new one under that name, and its hash among those in the hash file.
    """
    part, hash_file = part_of(path), hash_of(path)
    sync(part)
    line = f"{sha256_of_file(part)}  {path.name}\n"
    old = hash_file.read_text() if path.exists() and hash_file.exists() else ""
    write_atomically(hash_file, line + old)
    os.replace(part, path)
    if old:
        write_atomically(hash_file, line)
    sync(path.parent)


def commit_folder(path: Path) -> None:
    """Rename the folder ``part_of(path)`` to ``path``, with the hashes of its files in it.

    All processes have to call this; each hashes its share of the files. A folder of that name is replaced.

    Raises:
        OSError: In every process, if it was raised in one.
    """
    part = part_of(path)
    mine = run_in_all_processes(
        lambda: {file.name: _synced_digest(file) for file in sorted(part.iterdir())[rank() :: world_size()]}
    )
    sums = {name: digest for share in mine for name, digest in share.items()}
    run_in_all_processes(lambda: _rename_folder(path, sums) if rank() == 0 else None)


def run_in_all_processes(work: Callable[[], _T]) -> list[_T]:
    """Call a function, as every process does, and all-gather the results, ordered by rank.

    Raises:
        OSError: In every process, if it was raised in one.
    """
    result, problem = None, None
    try:
        result = work()
    except OSError as error:
        problem = (error.errno, error.strerror or str(error))
    results, problems = zip(*all_gather_objects((result, problem)), strict=True)
    if any(problems):
        raise OSError(*next(filter(None, problems)))
    return list(results)


def discard(path: Path) -> None:
    """Remove a file or folder and its hash file, if they exist."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    hash_of(path).unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what a run that was killed while saving has left: partial checkpoints, and hash files of no checkpoint."""
    for pattern in ("*.pth", f"*.pth{HASH}"):
        for partial in folder.glob(pattern + PART):
            discard(partial)
    for hash_file in folder.glob(f"*.pth{HASH}"):
        if not hash_file.with_name(hash_file.name.removesuffix(HASH)).exists():
            hash_file.unlink()


def _save_error(path: Path, error: OSError) -> SaveError:
    if error.errno in _DISK_FULL:
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        why = f"there is no room left ({free / 2**20:,.0f} MiB free)"
        cure = f"Make room in {path.parent}, or keep fewer checkpoints (default_hooks.checkpoint.max_keep_ckpts)."
    else:
        why, cure = f"the operating system reports: {error.strerror or error}", f"Check the disk of {path.parent}."
    return SaveError(f"{path} could not be saved: {why}. The checkpoints before it are untouched. {cure}")


def _synced_digest(file: Path) -> str:
    sync(file)
    return sha256_of_file(file)


def _make_empty(folder: Path) -> None:
    discard(folder)
    folder.mkdir(parents=True)


def _rename_folder(path: Path, sums: Mapping[str, str]) -> None:
    part = part_of(path)
    write_atomically(part / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    sync(part)
    discard(path)
    os.replace(part, path)
    sync(path.parent)
