"""Rank, world size, all-gather with gradients, and sharded tensors (``DTensor``); no-ops in a single process."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group of more than one process is initialised."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Rank of this process, 0 in a single process."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, 1 in a single process."""
    return dist.get_world_size() if is_distributed() else 1


def all_gather_objects(item: Any) -> list[Any]:
    """All-gather one picklable object from every process, ordered by rank."""
    if not is_distributed():
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def all_gather_lists(items: list[Any]) -> list[Any]:
    """The picklable lists of every process, concatenated in order of rank."""
    return [item for process in all_gather_objects(items) for item in process]


def all_gather_rows(rows: Tensor) -> Tensor:
    """All-gather along the first dimension, ``[b_r, ...]`` -> ``[sum b_r, ...]``, differentiable.

    The backward pass sums the gradient over all processes, so that a loss averaged over processes has the gradient of
    the same loss in one process. ``b_r`` may differ between processes.
    """
    if not is_distributed():
        return rows
    sizes = _row_counts(rows)
    return torch.cat(
        [part[:size] for part, size in zip(_GatherPadded.apply(_pad_to(rows, max(sizes))), sizes, strict=True)]
    )


def row_offset(rows: Tensor) -> int:
    """Index of this process's first row in ``all_gather_rows(rows)``."""
    return sum(_row_counts(rows)[: rank()]) if is_distributed() else 0


def _row_counts(rows: Tensor) -> list[int]:
    device = exchange_device(rows.device)
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.full((1,), len(rows), dtype=torch.long, device=device))
    return torch.cat(counts).tolist()


def exchange_device(device: torch.device) -> torch.device:
    """The device for collectives whose result Python reads: the CPU where its backend is up, which spares a GPU wait.

    Args:
        device: The fallback, where only the GPU backend is up.
    """
    return torch.device("cpu") if "cpu:" in dist.get_backend_config() else device


def _pad_to(rows: Tensor, length: int) -> Tensor:
    # gloo aborts the process when sizes differ: every process pads to the largest.
    if len(rows) == length:
        return rows.contiguous()
    return torch.cat([rows, rows.new_zeros(length - len(rows), *rows.shape[1:])])


class _GatherPadded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.empty_like(rows) for _ in range(world_size())]
        dist.all_gather(parts, rows)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = torch.stack(grads)
        dist.all_reduce(total)
        return total[rank()]


def is_sharded(tensor: Any) -> bool:
    """Whether a tensor is sharded over processes (torch's ``DTensor``)."""
    return hasattr(tensor, "to_local")


def local_shard(tensor: Tensor) -> Tensor:
    """This process's shard of a sharded tensor, sharing its memory; any other tensor unchanged."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """All-gather a sharded tensor, which every process has to call; any other tensor unchanged."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """Shard a full tensor, which every process holds, in the layout of ``like``; nothing is sent.

    Returned unchanged where ``like`` is not sharded or has another shape, or where ``tensor`` is sharded already.
    """
    if not is_sharded(like) or is_sharded(tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor  # takes a while to import

    tensor = tensor.to(like.device_mesh.device_type)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
