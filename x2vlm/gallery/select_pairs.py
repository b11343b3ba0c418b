"""Selecting pairs of a batch: the first of each identity, with the contexts that they read.

Shape letters: B pairs.
"""

import torch
from torch import Tensor

from x2vlm.data.batch import Batch

PAIR_FIELDS = ("text_ids", "text_mask", "boxes_xyxy", "has_box", "patch_mask", "ids")
CONTEXT_FIELDS = ("pixels", "context_ids", "context_text_mask")


def first_occurrences(ids: Tensor, seen: set[int]) -> Tensor:
    """Positions of the first pair of each identity that is not in ``seen``, ascending; ``seen`` is extended by them.

    Args:
        ids: ``[B]`` identities.
        seen: Identities of earlier batches.
    """
    positions = []
    for position, identity in enumerate(ids.tolist()):
        if identity not in seen:
            seen.add(identity)
            positions.append(position)
    return torch.tensor(positions, dtype=torch.long)


def select_pairs(batch: Batch, pairs: Tensor) -> Batch:
    """The pairs at these positions, with the contexts that they read; all other fields are left out."""
    used, owner = torch.unique(batch.owner[pairs], return_inverse=True)
    per_pair = {name: getattr(batch, name) for name in PAIR_FIELDS}
    per_context = {name: getattr(batch, name) for name in CONTEXT_FIELDS}
    return Batch(
        owner=owner,
        **{name: None if value is None else value[pairs] for name, value in per_pair.items()},
        **{name: None if value is None else value[used] for name, value in per_context.items()},
    )
