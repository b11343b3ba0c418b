"""Positives of contrastive learning: which texts of a batch match which contexts, besides the pairs themselves."""

from typing import Literal

import torch
from torch import Tensor

from x2vlm.models.outputs import EncodedBatch

Positives = Literal["pairs", "ids", "ids_and_texts"]
RULES = ("pairs", "ids", "ids_and_texts")


def check_rule(rule: str) -> str:
    """The rule itself, if it is one.

    Raises:
        ValueError: If it is not.
    """
    if rule not in RULES:
        raise ValueError(f"positives='{rule}' is not known. Accepted: {', '.join(RULES)}.")
    return rule


def pair_keys(encoded: EncodedBatch, rule: str) -> Tensor:
    """``[B, K]`` long; two pairs are positives of each other where any column is equal.

    Args:
        encoded: The batch.
        rule: ``pairs``: only a pair itself is positive (pre-training as published, where two captions of one image
            count as negatives). ``ids``: pairs of equal identity too. ``ids_and_texts``: pairs with word for word the
            same text too.
    """
    ids = encoded.batch.ids
    count = len(encoded.batch)
    if rule == "pairs" or ids is None:
        ids = torch.arange(count, device=encoded.text.mask.device)
    if rule != "ids_and_texts":
        return ids[:, None]
    return torch.stack([ids, text_keys(encoded.batch.text_ids, encoded.batch.text_mask)], dim=1)


def keys_match(first: Tensor, second: Tensor) -> Tensor:
    """``[B, K]`` and ``[C, K]`` keys -> ``[B, C]`` bool."""
    return (first[:, None] == second[None]).any(dim=-1)


def text_keys(text_ids: Tensor, text_mask: Tensor) -> Tensor:
    """One number for each text that does not depend on padding, ``[B]``; equal texts have equal numbers."""
    powers = torch.full_like(text_ids, 6364136223846793005).cumprod(dim=1)  # wraps around, as a hash may
    return ((text_ids + 1) * powers * text_mask).sum(dim=1)
