"""One checkpoint file, read without executing anything in it: safetensors first, pickles only as plain tensors."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from x2vlm.building import ConfigError

_GLOBAL = re.compile(r"(?i:unsupported global:?) (?:GLOBAL )?([A-Za-z_][\w.]*)|Unsupported class ([A-Za-z_][\w.]*)")


class CheckpointError(ConfigError):
    """A checkpoint that is not there, cannot be read, does not fit, or would be overwritten."""


def read_file(path: Path) -> dict[str, Any]:
    """All that a single file holds, tensors on the CPU. Only tensors, numbers, texts and plain containers are read.

    Raises:
        CheckpointError: If it is not there, is empty, cut short or of another format, or its pickle refers to other
            objects; the message names them, and nothing in the file has been executed then.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path} (looked from {Path.cwd()}).")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: it was perhaps cut off while it was copied. Get it again.")
    return _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)


def write_file(path: Path, content: Mapping[str, Any]) -> None:
    """Write what :func:`read_file` reads.

    Raises:
        OSError: If the disk does not take it.
    """
    try:
        with path.open("wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # torch fails to close the archive that it could not write
        if isinstance(error.__context__, OSError):
            raise error.__context__ from error
        raise


def read_mapped_entry(path: Path, key: str) -> Any:
    """One entry of a file of ``torch.save`` whose tensors stay on disk (memory-mapped); None without it.

    Raises:
        CheckpointError: If the file is damaged or not plain.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # as in _read_torch
        raise _unreadable(path, error) from error
    return content.get(key) if isinstance(content, Mapping) else None


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(9)
    return path.suffix == ".safetensors" or (len(head) == 9 and head[8:] == b"{" and head[3:8] == b"\0" * 5)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"{path} is damaged or no safetensors file ({error}). It was perhaps cut off while it was copied: it has "
            f"{path.stat().st_size:,} bytes; compare that with where it comes from, and get it again."
        ) from error


def _read_torch(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what torch raises at a broken file depends on where it is broken
        raise _unreadable(path, error) from error
    if isinstance(content, Mapping):
        return dict(content)
    raise CheckpointError(
        f"{path} holds a {type(content).__name__}, not a dict of named tensors. Save a state dict alone."
    )


def _unreadable(path: Path, error: Exception) -> CheckpointError:
    classes = _pickled_classes(path, error)
    if classes:
        return CheckpointError(
            f"{path} is no file of plain tensors: its pickle refers to {', '.join(classes)}, and loading such objects "
            "may run code. "
            "It was not opened further: nothing in it was run. "
            "Have whoever made it save the state dict alone, or convert it to safetensors where it is trusted."
        )
    if _is_from_torch(path):
        return CheckpointError(
            f"{path} is damaged ({_reason(error)}). It was perhaps cut off while it was copied: it has "
            f"{path.stat().st_size:,} bytes; compare that with where it comes from, and get it again."
        )
    return CheckpointError(
        f"{path} is neither a safetensors file nor a state dict that torch.save wrote, and was not opened further."
    )


def _pickled_classes(path: Path, error: Exception) -> list[str]:
    """Names of the classes and functions that a pickle refers to besides plain tensors."""
    names: set[str] = set()
    if zipfile.is_zipfile(path):
        try:
            names = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        except Exception:  # too broken to be listed; what stopped the reading is in the error itself
            names = set()
    return sorted(names or {name for groups in _GLOBAL.findall(str(error)) for name in groups if name})


def _is_from_torch(path: Path) -> bool:
    """Whether this began as a zip archive or (before torch 1.6) a pickle of ``torch.save``, whatever became of it."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            inside = archive.namelist()
        return any(name.endswith("/data.pkl") for name in inside) and not any("/code/" in name for name in inside)
    with path.open("rb") as file:
        start = file.read(40)
    return start.startswith(b"PK") or (start.startswith(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03"))


def _reason(error: Exception) -> str:
    text = str(error).strip()
    if "WeightsUnpickler error: " in text:  # what comes before is advice to open it without care
        text = text.partition("WeightsUnpickler error: ")[2]
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__
