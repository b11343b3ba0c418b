"""What answers have in common: each distinct beginning of the answers to a question, once.

Shape letters: Q questions, k answers to each, T tokens of an answer, N distinct beginnings of a question's answers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrefixTree:
    """The distinct beginnings of the answers to each question, as a tree: each stands for its last token.

    Attributes:
        ids: ``[Q, N]`` long, the last token of each. Questions with fewer than ``N`` have something at their end that
            nothing refers to.
        depth: ``[Q, N]`` long, tokens of the beginning before its last one.
        above: ``[Q, N, N]`` bool, True at the beginnings of a beginning, itself included.
        place: ``[Q, k, T]`` long, which of the ``N`` ends with this token of this answer; anything at padding.
    """

    ids: Tensor
    depth: Tensor
    above: Tensor
    place: Tensor


def prefix_tree(ids: Tensor, real: Tensor) -> PrefixTree:
    """Find what answers share.

    Args:
        ids: ``[Q, k, T]`` long, tokens of the answers.
        real: ``[Q, k, T]`` bool, True at the tokens that are to be read; all before one of them are, too.
    """
    questions, _, length = ids.shape
    same = ids[:, :, None] == ids[:, None]  # [Q, k, k, T]
    same = (same & real[:, :, None] & real[:, None]).long().cumprod(dim=-1)
    first = same.argmax(dim=2)  # [Q, k, T], the first answer that begins so
    new = real & (first == torch.arange(ids.shape[1], device=ids.device)[:, None])
    number = (new.flatten(1).cumsum(dim=1) - 1).clamp(min=0)
    place = number.gather(1, (first * length + torch.arange(length, device=ids.device)).flatten(1)).view_as(ids)
    count = int(new.flatten(1).sum(dim=1).max())
    chosen = new.flatten(1).int().argsort(dim=1, descending=True, stable=True)[:, :count]  # [Q, N]
    depth = chosen % length
    own = torch.arange(count, device=ids.device).expand(questions, -1)
    path = place.gather(1, (chosen // length)[..., None].expand(-1, -1, length))  # [Q, N, T]
    path = torch.where(torch.arange(length, device=ids.device) < depth[..., None], path, own[..., None])
    above = torch.zeros(questions, count, count, dtype=torch.bool, device=ids.device).scatter_(2, path, True)
    return PrefixTree(ids.flatten(1).gather(1, chosen), depth, above, place)
