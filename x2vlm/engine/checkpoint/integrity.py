"""Files that are complete or absent: written aside, synced, hashed, renamed; and found out if damaged since."""

import errno
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from x2vlm.distributed import all_gather_objects, rank, world_size

PART = ".part"  # what is being written
HASH = ".sha256"  # in the format of sha256sum: `sha256sum -c iter_500.pth.sha256`
SUMS = "SHA256SUMS"  # in a folder, the hashes of all its files: `sha256sum -c SHA256SUMS`
DAMAGED = ".damaged"  # what was set aside
_T = TypeVar("_T")
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class SaveError(RuntimeError):
    """A checkpoint that could not be written; those that were there before are as they were."""


def part_of(path: Path) -> Path:
    """Where a file is written until it is complete."""
    return path.with_name(path.name + PART)


def hash_of(path: Path) -> Path:
    """The file that holds the hash of another."""
    return path.with_name(path.name + HASH)


def commit(path: Path) -> None:
    """Give what was written to ``part_of(path)`` its name, with its hash beside it; all of it is on the disk then.

    Whenever this is cut off, the file of that name is whole, the old one or the new, and its hash is among those noted.
    """
    part, note = part_of(path), hash_of(path)
    sync(part)
    line = f"{digest(part)}  {path.name}\n"
    old = note.read_text() if path.exists() and note.exists() else ""
    _write(note, line + old)
    os.replace(part, path)
    if old:
        _write(note, line)
    sync(path.parent)


def commit_folder(path: Path) -> None:
    """Give the folder that was written to ``part_of(path)`` its name, with the hashes of its files in it.

    All processes have to call this; each hashes its share. A folder of that name is removed.

    Raises:
        OSError: In every process, if it happened in one.
    """
    part = part_of(path)
    mine = together(lambda: {file.name: _hashed(file) for file in sorted(part.iterdir())[rank() :: world_size()]})
    sums = {name: digest for share in mine for name, digest in share.items()}
    together(lambda: _name_folder(path, sums) if rank() == 0 else None)


def together(work: Callable[[], _T]) -> list[_T]:
    """Do what every process does, and give what came of it in each of them.

    Raises:
        OSError: In every process, if it happened in one.
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
    """Remove a file (or a folder) and its hash; what is not there need not be removed."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    hash_of(path).unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file, and its hash, so that nobody takes it for a good one; the new name."""
    aside = path.with_name(path.name + DAMAGED)
    os.replace(path, aside)
    if hash_of(path).exists():
        os.replace(hash_of(path), hash_of(aside))
    return aside


def sweep(folder: Path) -> None:
    """Remove what a run that was killed while it saved has left: halves of checkpoints, and hashes of none."""
    for pattern in ("*.pth", f"*.pth{HASH}"):
        for half in folder.glob(pattern + PART):
            discard(half)
    for note in folder.glob(f"*.pth{HASH}"):
        if not note.with_name(note.name.removesuffix(HASH)).exists():
            note.unlink()


def damage(path: Path) -> str | None:
    """What is wrong with a file or folder; None if it has its hash (or, without one, can be read to its end)."""
    if path.is_dir():
        return _damage_in(path)
    note = hash_of(path)
    hashes = [line.split()[0] for line in note.read_text().splitlines() if line.strip()] if note.is_file() else []
    if hashes:
        found = digest(path)
        return None if found in hashes else f"its content is not what was written: {note.name} does not fit"
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile:
        return "it is cut off, or no checkpoint"
    return None if broken is None else f"its part {broken} is damaged"


def _damage_in(folder: Path) -> str | None:
    sums = folder / SUMS
    if not sums.is_file():
        return f"its list of hashes, {SUMS}, is missing"
    for line in sums.read_text("utf-8").splitlines():
        wanted, _, name = line.partition("  ")
        file = folder / Path(name).name
        if not file.is_file():
            return f"its part {file.name} is missing"
        if digest(file) != wanted:
            return f"the content of {file.name} is not what was written: {SUMS} does not fit"
    return None


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def could_not_save(path: Path, error: OSError) -> SaveError:
    """The sentence for a checkpoint that the disk did not take."""
    if error.errno in _FULL:
        free = shutil.disk_usage(path.parent).free if path.parent.is_dir() else 0
        why = f"there is no room left ({free / 2**20:,.0f} MiB free)"
        cure = f"Make room in {path.parent}, or keep fewer checkpoints (default_hooks.checkpoint.max_keep_ckpts)."
    else:
        why, cure = f"the system says: {error.strerror or error}", f"Look at the disk of {path.parent}."
    return SaveError(f"{path} could not be saved: {why}. The checkpoints before it are untouched. {cure}")


def _hashed(file: Path) -> str:
    sync(file)
    return digest(file)


def _name_folder(path: Path, sums: Mapping[str, str]) -> None:
    part = part_of(path)
    _write(part / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))
    sync(part)
    discard(path)
    os.replace(part, path)
    sync(path.parent)


def _write(path: Path, text: str) -> None:
    part = part_of(path)
    try:
        part.write_text(text)
        sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
