"""Integrity of checkpoints: SHA-256 hashes beside them, damage found by them, damaged files renamed."""

import hashlib
import os
import zipfile
from os import PathLike
from pathlib import Path

from x2vlm.weights.checkpoint_file import CheckpointError

HASH = ".sha256"  # in the format of sha256sum: `sha256sum -c iter_500.pth.sha256`
SUMS = "SHA256SUMS"  # in a folder, the hashes of all its files: `sha256sum -c SHA256SUMS`
DAMAGED = ".damaged"  # suffix of damaged checkpoints that were renamed


def sha256_of_file(path: str | PathLike) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    total = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            total.update(block)
    return total.hexdigest()


def hash_of(path: Path) -> Path:
    """The hash file of a file."""
    return path.with_name(path.name + HASH)


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint, a file or a folder.

    Returns:
        None if its content has the hash in its hash file, or, without such a file, can be read to its end.
    """
    if path.is_dir():
        return _folder_damage(path)
    hash_file = hash_of(path)
    hashes = []
    if hash_file.is_file():
        hashes = [line.split()[0] for line in hash_file.read_text().splitlines() if line.strip()]
    if hashes:
        return (
            None
            if sha256_of_file(path) in hashes
            else f"its content is not what was written: {hash_file.name} does not fit"
        )
    if path.stat().st_size == 0:
        return "it is empty"
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile:
        return "it is cut off, or no checkpoint"
    return None if broken is None else f"its part {broken} is damaged"


def check_hashes(path: Path) -> None:
    """Refuse a checkpoint whose content does not have the hashes that were written beside it (in it, for a folder).

    Raises:
        CheckpointError: If it is damaged. One without hashes passes.
    """
    has_hashes = (path / SUMS).is_file() if path.is_dir() else hash_of(path).is_file()
    if has_hashes and (wrong := damage(path)) is not None:
        raise CheckpointError(
            f"{path} is damaged: {wrong}. Take another checkpoint, or get it again. If it was changed on purpose, "
            f"delete {path / SUMS if path.is_dir() else hash_of(path)}."
        )


def rename_damaged(path: Path) -> Path:
    """Rename a damaged checkpoint and its hash file, so that it is not taken for an intact one; the new name."""
    renamed = path.with_name(path.name + DAMAGED)
    os.replace(path, renamed)
    if hash_of(path).exists():
        os.replace(hash_of(path), hash_of(renamed))
    return renamed


def _folder_damage(folder: Path) -> str | None:
    sums = folder / SUMS
    if not sums.is_file():
        return f"its list of hashes, {SUMS}, is missing"
    for line in sums.read_text("utf-8").splitlines():
        expected, _, name = line.partition("  ")
        file = folder / Path(name).name
        if not file.is_file():
            return f"its part {file.name} is missing"
        if sha256_of_file(file) != expected:
            return f"the content of {file.name} is not what was written: {SUMS} does not fit"
    return None
