"""Pixels, masked patches and boxes of a batch, from those of its samples.

Shape letters: B texts, U distinct contexts, K contexts that a text attends to, N patches.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import default_collate

from x2vlm.data.batch import BadRecord, Sample

Pairs = list[tuple[int, int]]
"""(index of the sample, index of its text)."""


def with_equal_image_counts(samples: Sequence[Sample]) -> tuple[list[Sample], list[BadRecord]]:
    """The samples whose texts attend to as many images as most do (the more of equals), and the others, bad."""
    counts = Counter(sample.num_contexts for sample in samples if sample.pixels is not None)
    if len(counts) < 2:
        return list(samples), []
    most = max(counts, key=lambda number: (counts[number], number))
    kept = [sample for sample in samples if sample.pixels is None or sample.num_contexts == most]
    reason = f"its text has {{}} images, and those of the others in its batch {most}"
    odd = [sample for sample in samples if sample.pixels is not None and sample.num_contexts != most]
    return kept, [BadRecord(sample.where, reason.format(sample.num_contexts)) for sample in odd]


def are_image_only(samples: Sequence[Sample]) -> bool:
    """Whether the samples are images without texts; records of regions are not, even where no region is left.

    Raises:
        ValueError: If some are and some are not.
    """
    image_only = [sample for sample in samples if not sample.texts and sample.boxes_xyxy is None]
    if image_only and len(image_only) < len(samples):
        other = next(sample for sample in samples if sample.texts or sample.boxes_xyxy is not None)
        raise ValueError(
            f"samples with and without texts in one batch: {other.where} has some, {image_only[0].where} has not. "
            "Give each kind of record a stream of its own."
        )
    return bool(image_only)


def pixel_tensors(samples: list[Sample], owner: Tensor) -> dict[str, Tensor]:
    """``pixels`` of every image once, and ``owner`` of each pair; text ``b`` attends to all images of ``owner[b]``."""
    shapes = sorted({tuple(sample.pixels.shape[sample.num_contexts > 1 :]) for sample in samples})
    if len(shapes) > 1:
        raise ValueError(f"images or clips of several sizes in a batch: {shapes}. Resize them alike.")
    count = samples[0].num_contexts
    if count == 1:
        return {"pixels": default_collate([sample.pixels for sample in samples]), "owner": owner}
    return {
        "pixels": torch.cat([sample.pixels for sample in samples]),
        "owner": (owner[:, None] * count + torch.arange(count)).flatten(),
        "text_owner": torch.arange(len(owner)).repeat_interleave(count),
    }


def masked_patch_tensors(samples: list[Sample]) -> dict[str, Tensor]:
    """``masked_patches`` ``[U, N]`` of the images, where the samples have them."""
    if not all_or_none(samples, "masked_patches"):
        return {}
    masks = [sample.masked_patches for sample in samples]
    return {"masked_patches": torch.stack(masks) if masks[0].dim() == 1 else torch.cat(masks)}


def box_tensors(samples: list[Sample], pairs: Pairs) -> dict[str, Tensor]:
    """``boxes_xyxy`` and ``has_box`` of the pairs."""
    if not all_or_none(samples, "boxes_xyxy"):
        return {}
    first = torch.tensor([0, *(len(sample.texts) for sample in samples[:-1])]).cumsum(0).tolist()
    indices = torch.tensor([first[s] + r for s, r in pairs], dtype=torch.long)
    return {
        "boxes_xyxy": torch.cat([sample.boxes_xyxy for sample in samples])[indices],
        "has_box": torch.cat([sample.has_box for sample in samples])[indices],
    }


def all_or_none(samples: list[Sample], name: str) -> bool:
    """Whether the samples have this field.

    Raises:
        ValueError: If some have it and some have not.
    """
    having = [sample for sample in samples if getattr(sample, name) is not None]
    if having and len(having) < len(samples):
        lacking = next(sample for sample in samples if getattr(sample, name) is None)
        raise ValueError(
            f"samples with and without {name} in one batch: {having[0].where} has it, {lacking.where} has not. "
            "Give each kind of record a stream of its own."
        )
    return bool(having)
