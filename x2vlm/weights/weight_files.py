"""Weights from files, without executing anything in them: safetensors first, pickles only as plain tensors."""

import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from x2vlm.building import ConfigError

# Where checkpoints keep their state dict: MMEngine and timm, the published releases and BEiT, DDP wrappers.
WRAPPERS = ("state_dict", "model", "module")
# What a folder of weights holds, best first.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"
_GLOBAL = re.compile(r"(?i:unsupported global:?) (?:GLOBAL )?([A-Za-z_][\w.]*)|Unsupported class ([A-Za-z_][\w.]*)")


class CheckpointError(ConfigError):
    """A checkpoint that is not there, cannot be read, does not fit, or would be overwritten."""


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a weights file, on the CPU; what wraps them (``state_dict``, ``model``) is taken off.

    Args:
        path: A safetensors file, a file of ``torch.save``, a folder with ``model.safetensors`` or
            ``pytorch_model.bin`` (in several files with an index, if large), or the checkpoint of a sharded run.

    Raises:
        CheckpointError: As :func:`read_checkpoint`; or there are no named tensors in it.
    """
    return state_of(read_checkpoint(path), path)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """All that a checkpoint holds, tensors on the CPU. Only tensors, numbers, texts and plain containers are read.

    Raises:
        CheckpointError: If it is not a local file, is not there, is empty, cut short or of another format, or wants to
            make objects of its own; the message says which ones. Nothing in it has been run then.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path} is not a local file. Download it, and name the file.")
    path = Path(path).expanduser()
    return _read_folder(path) if path.is_dir() else read_plain(path)


def read_plain(path: Path) -> dict[str, Any]:
    """All that a single file holds; as :func:`read_checkpoint`."""
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path} (looked from {Path.cwd()}).")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty: it was perhaps cut off while it was copied. Get it again.")
    return _read_safetensors(path) if _is_safetensors(path) else _read_torch(path)


def write_plain(path: Path, content: Mapping[str, Any]) -> None:
    """Write what :func:`read_plain` reads.

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


def read_entry(path: str | Path, key: str) -> Any:
    """One entry of a checkpoint, without reading its tensors into memory where the file allows it; None without it.

    Raises:
        CheckpointError: As :func:`read_checkpoint`.
    """
    from x2vlm.weights.sharded_checkpoint import REST, is_in_parts

    path = Path(path) / REST if is_in_parts(path) else Path(path)
    if not zipfile.is_zipfile(path):
        return read_checkpoint(path).get(key)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # as in _read_torch
        raise _unreadable(Path(path), error) from error
    return content.get(key) if isinstance(content, Mapping) else None


def state_of(content: Mapping[str, Any], source: str | Path = "the checkpoint") -> dict[str, Tensor]:
    """The state dict inside a checkpoint's content, without ``module.`` in front of every name.

    Raises:
        CheckpointError: If there are no named tensors.
    """
    state: Any = content
    while isinstance(state, Mapping):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            break
        state = inner
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, list(state)[:8])) or "nothing"
        raise CheckpointError(
            f"{source} holds no named tensors, only: {keys}. Expected a state dict, alone or under one of: "
            f"{', '.join(WRAPPERS)}."
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, each tensor with memory of its own; a file that is there is replaced whole."""
    from safetensors.torch import save_file

    path, seen, ready = Path(path), set(), {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        place = (value.untyped_storage().data_ptr(), value.storage_offset())
        if place in seen or value.numel() * value.element_size() < value.untyped_storage().nbytes():
            value = value.clone()
        seen.add(place)
        ready[name] = value
    part = path.with_name(f"{path.name}.part")
    save_file(ready, part, metadata={"format": "pt", **(metadata or {})})
    part.replace(path)


def _read_folder(folder: Path) -> dict[str, Any]:
    from x2vlm.weights.sharded_checkpoint import is_in_parts, read_parts

    if is_in_parts(folder):
        return read_parts(folder)
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return read_checkpoint(folder / name)
        if (folder / f"{name}{_INDEX}").is_file():
            return _read_parts(folder / f"{name}{_INDEX}")
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise CheckpointError(
        f"{folder} is a folder without weights: expected {' or '.join(WEIGHT_FILES)}, found {there}. "
        "Name the file, or the folder that holds it."
    )


def _read_parts(index: Path) -> dict[str, Any]:
    try:
        files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of weights in several files: {error!r}.") from error
    found: dict[str, Any] = {}
    for file in files:
        found |= state_of(read_checkpoint(index.parent / Path(file).name), file)
    return found


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
    wanted = _wanted(path, error)
    if wanted:
        return CheckpointError(
            f"{path} is no file of plain tensors: it wants {', '.join(wanted)}, and making such objects may run code. "
            "It was not opened further: nothing in it was run. "
            "Have whoever made it save a state dict alone, or convert it to safetensors where it is trusted."
        )
    if _is_from_torch(path):
        return CheckpointError(
            f"{path} is damaged ({_reason(error)}). It was perhaps cut off while it was copied: it has "
            f"{path.stat().st_size:,} bytes; compare that with where it comes from, and get it again."
        )
    return CheckpointError(
        f"{path} is neither a safetensors file nor a state dict that torch.save wrote, and was not opened further."
    )


def _wanted(path: Path, error: Exception) -> list[str]:
    """Names of what a pickle wants to make besides plain tensors."""
    found: set[str] = set()
    if zipfile.is_zipfile(path):
        try:
            found = set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
        except Exception:  # too broken to be listed; what stopped the reading is in the error itself
            found = set()
    return sorted(found or {name for groups in _GLOBAL.findall(str(error)) for name in groups if name})


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
