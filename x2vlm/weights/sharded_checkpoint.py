"""Checkpoints in parts: a folder with a file of each process, of tensors that were spread over the processes.

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
from x2vlm.weights.weight_files import CheckpointError, read_plain, write_plain

REST = "rest.pth"
_SPREAD = "spread over files"  # the only key of what stands in a tensor's place in the rest


def is_in_parts(path: str | Path) -> bool:
    """Whether a path is a folder that :func:`write_parts` wrote."""
    return (Path(path) / REST).is_file()


def write_parts(folder: str | Path, content: Mapping[str, Any]) -> None:
    """Write a checkpoint into a folder that is there; all processes have to call this, with the same content.

    Args:
        folder: Empty, and the same for all processes.
        content: Nested dicts and lists. Spread tensors are written by whoever has them, all else by the first process.

    Raises:
        OSError: In every process, if one of them could not write.
    """
    import torch.distributed.checkpoint as dcp

    tensors: dict[str, Tensor] = {}
    rest = _take_out(content, "", tensors)
    try:
        dcp.save(tensors, storage_writer=dcp.HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except dcp.api.CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values()]
        raise next((cause for cause in causes if isinstance(cause, OSError)), error) from error
    if rank() == 0:
        write_plain(Path(folder) / REST, rest)


def read_parts(folder: str | Path, mesh: Any = None) -> dict[str, Any]:
    """What :func:`write_parts` was given.

    Args:
        folder: The folder.
        mesh: Spread the tensors that were spread over these processes (a ``DeviceMesh``), along their first dimension;
            all of them have to call this then. None: give them whole, on the CPU.

    Raises:
        CheckpointError: If a file is missing, damaged, or not what it should be.
    """
    import torch.distributed.checkpoint as dcp
    from safetensors import SafetensorError
    from torch.distributed.tensor import Shard, empty

    rest, reader = read_plain(Path(folder) / REST), dcp.HuggingFaceStorageReader(str(folder))
    try:
        found = reader.read_metadata().state_dict_metadata
        wanted = dict(_places(rest))
        lacking = [name for name, shape in wanted.items() if name not in found or tuple(found[name].size) != shape]
        if lacking:
            raise CheckpointError(
                f"{folder} is not complete: {len(lacking)} tensors lack some or all of their rows ({lacking[0]}, ...). "
                "Every process writes a file of its own: perhaps one was not copied."
            )
        tensors = {name: (found[name].size, found[name].properties.dtype) for name in wanted}
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
    return _put_back(rest, loaded)


def _take_out(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if is_sharded(value):
        tensors[path] = value
        return {_SPREAD: path, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        return {key: _take_out(item, f"{path}/{key}".lstrip("/"), tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_take_out(item, f"{path}/{number}", tensors) for number, item in enumerate(value))
    return value


def _places(value: Any) -> Any:
    """Names and shapes of the tensors that were taken out."""
    if isinstance(value, Mapping):
        if _SPREAD in value:
            yield value[_SPREAD], tuple(value["shape"])
        else:
            for item in value.values():
                yield from _places(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _places(item)


def _put_back(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, Mapping):
        if _SPREAD in value:
            return tensors[value[_SPREAD]]
        return {key: _put_back(item, tensors) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_put_back(item, tensors) for item in value)
    return value
