"""Read weights and checkpoints: single files, folders, weights in several files, checkpoints of sharded runs."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from x2vlm.weights.checkpoint_file import CheckpointError, read_file, read_mapped_entry
from x2vlm.weights.integrity import check_hashes
from x2vlm.weights.sharded_checkpoint import REST, is_sharded_checkpoint, read_sharded_checkpoint

# Where checkpoints keep their state dict: MMEngine and timm, the published releases and BEiT, DDP wrappers.
# The averaged ones (EMA) are taken where there are no others.
WRAPPERS = ("state_dict", "model", "module", "ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema")
# What stands in front of every name, and before the name of a compiled part.
PREFIXES = ("module.", "model.")
COMPILED = "_orig_mod."
AVERAGING_COUNTERS = ("steps", "n_averaged")
# What a folder of weights holds, best first.
WEIGHT_FILES = ("model.safetensors", "pytorch_model.safetensors", "pytorch_model.bin")
_INDEX = ".index.json"


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a weights file, on the CPU; wrappers (``state_dict``, ``model``) are removed.

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
        CheckpointError: If it is not a local file, is not there, is empty, cut short or of another format, has not
            the hash that lies beside it, or its pickle refers to other objects; the message names them, and nothing in
            it has been executed then.
    """
    if "://" in str(path):
        raise CheckpointError(f"{path} is not a local file. Download it, and name the file.")
    path = Path(path).expanduser()
    check_hashes(path)
    return _read_folder(path) if path.is_dir() else read_file(path)


def read_entry(path: str | Path, key: str) -> Any:
    """One entry of a checkpoint, without reading its tensors into memory where the file allows it; None without it.

    Raises:
        CheckpointError: As :func:`read_checkpoint`.
    """
    path = Path(path) / REST if is_sharded_checkpoint(path) else Path(path)
    if not zipfile.is_zipfile(path):
        return read_checkpoint(path).get(key)
    return read_mapped_entry(path, key)


def state_of(content: Mapping[str, Any], source: str | Path = "the checkpoint") -> dict[str, Tensor]:
    """The state dict inside a checkpoint's content, without what wrappers put in front of every name.

    These are ``module.`` (DDP), ``model.`` (Lightning) and ``_orig_mod.`` (compiled models, at any depth). Of a
    checkpoint that holds averaged weights alone (EMA), those are taken.

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
    return _without_wrappers(tensors)


def _without_wrappers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    counters = [name for name in AVERAGING_COUNTERS if name in tensors and len(tensors) > 1]
    tensors = {name.replace(COMPILED, ""): value for name, value in tensors.items() if name not in counters}
    for prefix in PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, each tensor with memory of its own; a file that is there is replaced whole."""
    from safetensors.torch import save_file

    path, seen, ready = Path(path), set(), {}
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        storage = (value.untyped_storage().data_ptr(), value.storage_offset())
        if storage in seen or value.numel() * value.element_size() < value.untyped_storage().nbytes():
            value = value.clone()
        seen.add(storage)
        ready[name] = value
    part = path.with_name(f"{path.name}.part")
    save_file(ready, part, metadata={"format": "pt", **(metadata or {})})
    part.replace(path)


def _read_folder(folder: Path) -> dict[str, Any]:
    if is_sharded_checkpoint(folder):
        return read_sharded_checkpoint(folder)
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return read_checkpoint(folder / name)
        if (folder / f"{name}{_INDEX}").is_file():
            return _read_indexed(folder / f"{name}{_INDEX}")
    present = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise CheckpointError(
        f"{folder} is a folder without weights: expected {' or '.join(WEIGHT_FILES)}, found {present}. "
        "Name the file, or the folder that holds it."
    )


def _read_indexed(index: Path) -> dict[str, Any]:
    try:
        files = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index} is no index of weights in several files: {error!r}.") from error
    tensors: dict[str, Any] = {}
    for file in files:
        tensors |= state_of(read_checkpoint(index.parent / Path(file).name), file)
    return tensors
