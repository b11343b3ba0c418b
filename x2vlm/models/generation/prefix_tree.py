"""Prefix tree of answers: each distinct prefix of the answers to a question once.

Shape letters: Q questions, k answers to each, T tokens of an answer, N distinct prefixes of a question's answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrefixTree:
    """The distinct prefixes of the answers to each question; a node is a prefix, named by its last token.

    Attributes:
        ids: ``[Q, N]`` long, the last token of each prefix. Questions with fewer than ``N`` are padded.
        depth: ``[Q, N]`` long, number of tokens before the last one.
        above: ``[Q, N, N]`` bool, True at the prefixes of a prefix, itself included.
        number: ``[Q, k, T]`` long, the node of each token of each answer; arbitrary at padding.
    """

    ids: Tensor
    depth: Tensor
    above: Tensor
    number: Tensor


def prefix_tree(ids: Tensor, real: Tensor) -> PrefixTree:
    """Build the tree.

    Args:
        ids: ``[Q, k, T]`` long, tokens of the answers.
        real: ``[Q, k, T]`` bool, True at the tokens to be read; all tokens before one of them are True.
    """
    questions, _, length = ids.shape
    same = ids[:, :, None] == ids[:, None]  # [Q, k, k, T]
    same = (same & real[:, :, None] & real[:, None]).long().cumprod(dim=-1)
    first = same.argmax(dim=2)  # [Q, k, T], the first answer that begins so
    new = real & (first == torch.arange(ids.shape[1], device=ids.device)[:, None])
    number = (new.flatten(1).cumsum(dim=1) - 1).clamp(min=0)
    number_of_token = number.gather(1, (first * length + torch.arange(length, device=ids.device)).flatten(1)).view_as(
        ids
    )
    count = int(new.flatten(1).sum(dim=1).max())
    chosen = new.flatten(1).int().argsort(dim=1, descending=True, stable=True)[:, :count]  # [Q, N]
    depth = chosen % length
    index = torch.arange(count, device=ids.device).expand(questions, -1)
    path = number_of_token.gather(1, (chosen // length)[..., None].expand(-1, -1, length))  # [Q, N, T]
    path = torch.where(torch.arange(length, device=ids.device) < depth[..., None], path, index[..., None])
    above = torch.zeros(questions, count, count, dtype=torch.bool, device=ids.device).scatter_(2, path, True)
    return PrefixTree(ids.flatten(1).gather(1, chosen), depth, above, number_of_token)
