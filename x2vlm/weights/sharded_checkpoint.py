"""Sharded checkpoints: a folder with one file of each process, for tensors that are sharded over the processes.

The files are safetensors, written and read by ``torch.distributed.checkpoint`` for any number of processes; which rows
of a tensor a file has is noted in its header, as JSON. Everything else is in ``rest.pth``, a file of plain values. So
nothing in such a folder is ever unpickled freely; of torch's usual ``.metadata``, a pickle, there is none, and one that
somebody puts there is not opened.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from x2vlm.distributed import is_sharded, rank
from x2vlm.weights.checkpoint_file import CheckpointError, read_file, write_file

REST = "rest.pth"
_SHARDED = "spread over files"  # key of the entry that replaces a sharded tensor in the rest


def is_sharded_checkpoint(path: str | Path) -> bool:
    """Whether a path is a folder that :func:`write_sharded_checkpoint` wrote."""
    return (Path(path) / REST).is_file()


def write_sharded_checkpoint(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint into a folder that is there; all processes have to call this, with the same content.

    Args:
        folder: Empty, and the same for all processes.
        content: Nested dicts and lists. Sharded tensors are written by the processes that hold them, all else by the
            first process.

    Raises:
        OSError: In every process, if one of them could not write.
    """
    import torch.distributed.checkpoint as dcp

    tensors: dict[str, Tensor] = {}
    rest = _extract_tensors(content, "", tensors)
    try:
        dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except dcp.api.CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in causes if isinstance(cause, OSError)), error) from error
    if rank() == 0:
        write_file(Path(folder) / REST, rest)


def read_sharded_checkpoint(folder: str | Path, mesh: Any = None) -> dict[str, Any]:
    """What :func:`write_sharded_checkpoint` was given.

    Args:
        folder: The folder.
        mesh: A ``DeviceMesh`` over which the tensors that were sharded are sharded again, along their first dimension;
            all of its processes have to call this then. None: return full tensors, on the CPU.

    Raises:
        CheckpointError: If a file is missing, damaged, or not what it should be.
    """
    import torch.distributed.checkpoint as dcp
    from safetensors import SafetensorError
    from torch.distributed.tensor import Shard, empty

    rest, reader = read_file(Path(folder) / REST), dcp.HuggingFaceStorageReader(str(folder))
    try:
        stored = reader.read_metadata().state_dict_metadata
        expected = dict(_sharded_entries(rest))
        incomplete = [
            name for name, shape in expected.items() if name not in stored or tuple(stored[name].size) != shape
        ]
        if incomplete:
            raise CheckpointError(
                f"{folder} is not complete: {len(incomplete)} tensors lack some or all of their rows "
                f"({incomplete[0]}, ...). Every process writes a file of its own: perhaps one was not copied."
            )
        tensors = {name: (stored[name].size, stored[name].properties.dtype) for name in expected}
        if mesh is None:
            loaded = {name: torch.empty(size, dtype=dtype) for name, (size, dtype) in tensors.items()}
        else:
            options = {"device_mesh": mesh, "placements": [Shard(0)]}
            loaded = {name: empty(size, dtype=dtype, **options) for name, (size, dtype) in tensors.items()}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # on purpose
            dcp.load(loaded, storage_reader=reader, no_dist=mesh is None)
    except (SafetensorError, dcp.api.CheckpointException, OSError) as error:
        raise CheckpointError(f"{folder} is damaged: {error}. Get it again, or use another.") from error
    return _restore_tensors(rest, loaded)


def _extract_tensors(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if is_sharded(value):
        tensors[path] = value
        return {_SHARDED: path, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {key: _extract_tensors(item, f"{path}/{key}".lstrip("/"), tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_extract_tensors(item, f"{path}/{number}", tensors) for number, item in enumerate(value))
    return value


def _sharded_entries(value: Any) -> Any:
    """Names and shapes of the sharded tensors."""
    if isinstance(value, Mapping):
        if _SHARDED in value:
            yield value[_SHARDED], tuple(value["shape"])
        else:
            for item in value.values():
                yield from _sharded_entries(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _sharded_entries(item)


def _restore_tensors(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Mapping):
        if _SHARDED in value:
            return tensors[value[_SHARDED]]
        return {key: _restore_tensors(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_restore_tensors(item, tensors) for item in value)
    return value
