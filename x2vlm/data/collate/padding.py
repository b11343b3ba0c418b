"""Rows of numbers of different lengths as one tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(rows: Sequence[Sequence[int]], value: int, length: int | None = None) -> Tensor:
    """``[len(rows), L]`` long, each row filled up with ``value``; ``L`` is ``length``, or that of the longest row."""
    length = max(map(len, rows), default=0) if length is None else length
    return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.long).view(
        len(rows), length
    )


def padded_tokens(rows: Sequence[Sequence[int]], pad: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Token ids ``[len(rows), L]`` long filled up with ``pad``, and their mask: bool, True at what is no filling."""
    return padded(rows, pad, length), padded([[1] * len(row) for row in rows], 0, length).bool()
