"""Rank, world size, and gathers that are the identity in one process and keep gradients."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def is_distributed() -> bool:
    """True when a process group of more than one process is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Number of processes, 1 in a single process."""
    return dist.get_world_size() if is_distributed() else 1


def all_gather_objects(item: Any) -> list[Any]:
    """One picklable item of every process, in order of rank."""
    if not is_distributed():
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def all_gather_lists(items: list[Any]) -> list[Any]:
    """The picklable lists of every process, concatenated in order of rank."""
    return [item for process in all_gather_objects(items) for item in process]


def all_gather_rows(rows: Tensor) -> Tensor:
    """Rows of every process one after the other, ``[b_r, ...]`` -> ``[sum b_r, ...]``, with gradients.

    The backward pass sums the gradient over all processes, so that a loss that is averaged over processes has the
    gradient of the same loss in one process. Processes may hold different numbers of rows.
    """
    if not is_distributed():
        return rows
    sizes = _row_counts(rows)
    return torch.cat(
        [part[:size] for part, size in zip(_GatherPadded.apply(_pad_to(rows, max(sizes))), sizes, strict=True)]
    )


def row_offset(rows: Tensor) -> int:
    """Where this process's rows begin in ``all_gather_rows(rows)``."""
    return sum(_row_counts(rows)[: rank()]) if is_distributed() else 0


def _row_counts(rows: Tensor) -> list[int]:
    device = exchange_device(rows.device)
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.full((1,), len(rows), dtype=torch.long, device=device))
    return torch.cat(counts).tolist()


def exchange_device(device: torch.device) -> torch.device:
    """Where processes exchange numbers that Python needs: in main memory, if they can, so that no GPU is waited for.

    Args:
        device: Where they are exchanged else.
    """
    return torch.device("cpu") if "cpu:" in dist.get_backend_config() else device


def _pad_to(rows: Tensor, length: int) -> Tensor:
    # gloo aborts the process when sizes differ, so every process sends the longest.
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


def is_spread(tensor: Any) -> bool:
    """Whether a tensor is in parts, one in each process (torch's ``DTensor``)."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """The part of a spread tensor that is here, sharing its memory; any other tensor as it is."""
    return tensor.to_local() if is_spread(tensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a spread tensor; every process has to ask for it. Any other tensor as it is."""
    return tensor.full_tensor() if is_spread(tensor) else tensor


def spread_like(tensor: Tensor, like: Tensor) -> Tensor:
    """A whole tensor, which every process has, in parts as ``like`` is; nothing is sent.

    It stays as it is where ``like`` is whole, has another shape, or where it is in parts already.
    """
    if not is_spread(like) or is_spread(tensor) or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor  # takes a while to import

    tensor = tensor.to(like.device_mesh.device_type)
    return distribute_tensor(tensor, like.device_mesh, like.placements, src_data_rank=None)
