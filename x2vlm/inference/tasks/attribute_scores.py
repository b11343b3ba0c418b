"""Attributes of a thing in an image, by sentences that say it has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Batch
from x2vlm.evaluation.scorers import scorer
from x2vlm.evaluation.tasks.attribute_templates import OBJECT_TEMPLATES, TEMPLATES
from x2vlm.inference.processor import Processor
from x2vlm.inference.results import AttributeScore
from x2vlm.models.join_outputs import to_cpu


def attribute_scores(
    model: Any,
    processor: Processor,
    image: np.ndarray,
    names: Sequence[str],
    box_xyxy_px: Sequence[float] | None,
    noun: str,
) -> list[AttributeScore]:
    """How well each attribute fits, the likeliest first: the best of its sentences less the mean of plain ones.

    As :class:`~x2vlm.evaluation.tasks.attributes.AttributeMetric` scores them; by cosine where the model has a shared
    space, else by the probability of matching.

    Raises:
        ValueError: If the box is not inside the image.
    """
    height, width = image.shape[:2]
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    if box_xyxy_px is not None:
        x0, y0, x1, y1 = (float(value) for value in box_xyxy_px)
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise ValueError(f"the box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is not inside the {width}x{height} image.")
        box = torch.tensor([[x0 / width, y0 / height, x1 / width, y1 / height]])
    plain = [template.format(object=noun) for template in OBJECT_TEMPLATES]
    with_attribute = [[t.format(attribute=name, object=noun) for t in TEMPLATES["is"]] for name in names]
    sentences = [*plain, *(one for every in with_attribute for one in every)]
    batch = Batch(
        text_ids=None,
        text_mask=None,
        pixels=processor.images([image]),
        owner=torch.zeros(1, dtype=torch.long),
        boxes_xyxy=box,
        has_box=torch.ones(1, dtype=torch.bool),
        patch_mask=boxes_to_patch_mask(box, model.vision_encoder.grid),
    ).to(model.device)
    context, texts = to_cpu(model.encode_context(batch)), to_cpu(model.encode_text(*processor.captions(sentences)))
    score = scorer("itc" if context.feat is not None and texts.feat is not None else "itm")
    every = torch.arange(len(sentences))
    values = score(model, context, torch.zeros_like(every), texts, every, 256)
    base, rest = values[: len(plain)].mean(), values[len(plain) :].unflatten(0, (len(names), -1))
    found = [AttributeScore(name, float(row.max() - base)) for name, row in zip(names, rest, strict=True)]
    return sorted(found, key=lambda one: one.score, reverse=True)
