"""The development kit of ImageNet-1K: which class each validation image has."""

import struct
import tarfile
import zlib
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from x2vlm.data.io.paths import existing_file
from x2vlm.data.io.row_readers.matlab_structs import read_structs

TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
_MAX_BYTES = 2**26  # of a file of the kit; they have less than one MB

# What tarfile raises for broken files.
_BROKEN = (
    tarfile.TarError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    zlib.error,
    struct.error,
    KeyError,
    IndexError,
)


class ValidationTruth(NamedTuple):
    """The classes of the validation images.

    Attributes:
        synsets: The WordNet identity of each class, sorted: a class is its place here.
        labels: ``[n]`` int64, the class of each image.
    """

    synsets: list[str]
    labels: np.ndarray


def read_devkit(path: str | PathLike, option: str) -> ValidationTruth:
    """The classes of the validation images, of the unpacked kit or its ``.tar.gz``.

    Args:
        path: ``ILSVRC2012_devkit_t12.tar.gz``, or the folder that it unpacks to.
        option: The option that named it, for messages.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it lacks a file, or one is broken.
    """
    path = Path(path).expanduser()
    files = _of_folder(path) if path.is_dir() else _of_archive(existing_file(path, option), option)
    lacking = [name for name in (TRUTH, META) if name not in files]
    if lacking:
        raise ValueError(f"{option}: {path} has no data/{lacking[0]}; expected ILSVRC2012_devkit_t12")
    numbers = _numbers(files[TRUTH], f"{option}: {path}: {TRUTH}")
    synsets = _synsets(files[META], f"{option}: {path}: {META}")
    unknown = sorted({*numbers} - {*synsets})
    if unknown:
        raise ValueError(f"{option}: {path}: {TRUTH} has the class {unknown[0]}, which {META} does not name")
    names = sorted({synsets[number] for number in synsets})
    places = {name: place for place, name in enumerate(names)}
    return ValidationTruth(names, np.array([places[synsets[number]] for number in numbers], dtype=np.int64))


def _of_folder(folder: Path) -> dict[str, bytes]:
    found = {}
    for name in (TRUTH, META):
        file = next((one for one in (folder / "data" / name, folder / name) if one.is_file()), None)
        if file is not None and file.stat().st_size <= _MAX_BYTES:
            found[name] = file.read_bytes()
    return found


def _of_archive(path: Path, option: str) -> dict[str, bytes]:
    found = {}
    try:
        with tarfile.open(path) as tar:
            for member in tar:
                name = Path(member.name).name
                if name in (TRUTH, META) and member.isreg() and 0 <= member.size <= _MAX_BYTES:
                    found[name] = tar.extractfile(member).read()
    except _BROKEN as error:
        raise ValueError(f"{option}: {path} is no tar file, or a torn one: {error}") from error
    return found


def _numbers(data: bytes, what: str) -> list[int]:
    try:
        numbers = [int(line) for line in data.decode("ascii").split()]
    except ValueError as error:
        raise ValueError(f"{what} is no list of numbers: {error}") from error
    if not numbers:
        raise ValueError(f"{what} is empty")
    return numbers


def _synsets(data: bytes, what: str) -> dict[int, str]:
    """From the number of a class in the kit to its WordNet identity; inner nodes of the tree are left out."""
    try:
        rows = read_structs(data, "synsets")
        found = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in rows if not int(row["num_children"])}
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise ValueError(f"{what} is broken: {error!s:.200}") from error
    if not found:
        raise ValueError(f"{what} names no class")
    return found
