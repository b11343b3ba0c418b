"""Sequences of different lengths padded into one tensor."""

from collections.abc import Sequence

import torch
from torch import Tensor


def padded(sequences: Sequence[Sequence[int]], value: int, length: int | None = None) -> Tensor:
    """``[len(sequences), L]`` long, padded with ``value``; ``L`` is ``length``, or that of the longest sequence."""
    length = max(map(len, sequences), default=0) if length is None else length
    return torch.tensor(
        [[*sequence, *[value] * (length - len(sequence))] for sequence in sequences], dtype=torch.long
    ).view(len(sequences), length)


def padded_tokens(sequences: Sequence[Sequence[int]], pad: int, length: int | None = None) -> tuple[Tensor, Tensor]:
    """Token ids ``[len(sequences), L]`` long padded with ``pad``, and their mask: bool, True at real tokens."""
    return padded(sequences, pad, length), padded([[1] * len(ids) for ids in sequences], 0, length).bool()
