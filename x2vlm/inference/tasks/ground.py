"""Phrases to boxes: what the box objective predicts, and how well the phrase matches what is inside.

Shape letters: T phrases, P boxes, N patches.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from x2vlm.boxes import cxcywh_to_xyxy, paired_iou
from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Batch
from x2vlm.gallery.reranking.rerank_key_values import matching_logits
from x2vlm.inference.processor import Processor
from x2vlm.inference.results import Candidate, Grounding
from x2vlm.models.join_outputs import to_cpu
from x2vlm.models.needs import Needs

SAME = 0.5  # boxes that overlap so much are one candidate
PART = 0.6  # side of the parts in which further candidates are looked for, as a share of the image's

NEEDS = Needs(text=True, context=True, features=True)


def ground(
    model: Any,
    processor: Processor,
    image: np.ndarray,
    phrases: Sequence[str],
    tokens: tuple[Tensor, Tensor],
    candidates: int = 1,
    threshold: float = 0.0,
) -> list[Grounding]:
    """Where in the image is what each phrase describes?

    Args:
        model: A model with objective ``bbox``.
        processor: Prepares parts of the image.
        image: ``[H, W, 3]`` uint8.
        phrases: ``T`` phrases.
        tokens: Their ids and mask.
        candidates: Boxes to give for each.
        threshold: Least probability of matching the whole image; below, there is no box.

    Raises:
        ValueError: If an option has no meaning.
    """
    if candidates < 1 or not 0 <= threshold <= 1:
        raise ValueError(f"candidates={candidates} is a count from 1, threshold={threshold} a probability, 0..1.")
    if threshold and "itm" not in model.objectives:
        raise ValueError(f"threshold={threshold} needs objective 'itm', which this model does not have.")
    parts = _parts(image) if candidates > 1 else [(0.0, 0.0, 1.0, 1.0)]
    boxes = _predicted(model, processor, image, parts, tokens)  # [parts, T, 4]
    whole = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    every = torch.cat([whole.expand(len(phrases), 4)[None], boxes])
    scores = _probabilities(model, processor, image, every.transpose(0, 1), tokens)  # [T, 1 + parts], or None
    height, width = image.shape[:2]
    found = []
    for row, phrase in enumerate(phrases):
        inside, fits = (None, None) if scores is None else (scores[row, 1:].tolist(), float(scores[row, 0]))
        kept = _distinct(boxes[:, row], inside)[:candidates]
        results = [_candidate(boxes[i, row], None if inside is None else inside[i], width, height) for i in kept]
        if fits is not None and fits < threshold:
            found.append(Grounding(phrase, None, None, None, fits, tuple(results)))
            continue
        best = results[0]
        found.append(Grounding(phrase, best.box_xyxy_px, best.box_xyxy, best.probability, fits, tuple(results[1:])))
    return found


def _predicted(model: Any, processor: Processor, image: np.ndarray, parts: Sequence[Any], tokens: Any) -> Tensor:
    """The box of each phrase as seen in each part, in 0..1 of the whole image: ``[parts, T, 4]`` xyxy."""
    height, width = image.shape[:2]
    crops = [
        image[round(y0 * height) : round(y1 * height), round(x0 * width) : round(x1 * width)]
        for x0, y0, x1, y1 in parts
    ]
    ids, mask = tokens
    count, texts = len(crops), len(ids)
    batch = Batch(
        text_ids=ids.repeat(count, 1),
        text_mask=mask.repeat(count, 1),
        pixels=processor.images(crops),
        owner=torch.arange(count).repeat_interleave(texts),
        boxes_xyxy=torch.tensor([0.0, 0.0, 1.0, 1.0]).repeat(count * texts, 1),
        has_box=torch.ones(count * texts, dtype=torch.bool),
    ).to(model.device)
    objective = model.objectives["bbox"]
    (fused,) = model.read(objective.requests(model.encode(batch, objective.needs)))
    boxes = cxcywh_to_xyxy(objective.box(fused.states).float()).clamp(0, 1).cpu().unflatten(0, (count, texts))
    corner = torch.tensor([[x0, y0, x0, y0] for x0, y0, _, _ in parts])
    size = torch.tensor([[x1 - x0, y1 - y0] * 2 for x0, y0, x1, y1 in parts])
    return corner[:, None] + boxes * size[:, None]


def _probabilities(model: Any, processor: Processor, image: np.ndarray, boxes: Tensor, tokens: Any) -> Tensor | None:
    """That phrase ``t`` matches the region in each of its boxes ``[T, P, 4]``: ``[T, P]``."""
    if "itm" not in model.objectives:
        return None
    count = boxes.shape[1]
    rows = torch.arange(len(boxes)).repeat_interleave(count)
    flat = boxes.flatten(0, 1)
    batch = Batch(
        text_ids=tokens[0][rows],
        text_mask=tokens[1][rows],
        pixels=processor.images([image]),
        owner=torch.zeros(len(rows), dtype=torch.long),
        boxes_xyxy=flat,
        has_box=torch.ones(len(rows), dtype=torch.bool),
        patch_mask=boxes_to_patch_mask(_with_extent(flat), model.vision_encoder.grid),
    ).to(model.device)
    encoded = model.encode(batch, NEEDS if model.vision_proj is not None else Needs(text=True, context=True))
    every = torch.arange(len(rows))
    logits = matching_logits(model, to_cpu(encoded.context), every, to_cpu(encoded.text), every)
    return logits.softmax(dim=-1)[:, 1].unflatten(0, (len(boxes), count))


def _with_extent(boxes: Tensor) -> Tensor:
    """Boxes that are nowhere inside out: a prediction may be a line."""
    return torch.cat([boxes[:, :2], torch.maximum(boxes[:, 2:], boxes[:, :2])], dim=1).clamp(0, 1)


def _parts(image: np.ndarray) -> list[tuple[float, float, float, float]]:
    """The whole image, and overlapping parts of it."""
    starts = (0.0, (1 - PART) / 2, 1 - PART)
    return [(0.0, 0.0, 1.0, 1.0), *((x, y, x + PART, y + PART) for y in starts for x in starts)]


def _distinct(boxes: Tensor, scores: Sequence[float] | None) -> list[int]:
    """Numbers of the boxes, best first, without those that overlap a better one."""
    order = range(len(boxes)) if scores is None else sorted(range(len(boxes)), key=lambda i: -scores[i])
    kept: list[int] = []
    for number in order:
        if all(float(paired_iou(boxes[number][None], boxes[other][None])) < SAME for other in kept):
            kept.append(number)
    return kept


def _candidate(box: Tensor, probability: float | None, width: int, height: int) -> Candidate:
    x0, y0, x1, y1 = box.tolist()
    return Candidate((x0 * width, y0 * height, x1 * width, y1 * height), (x0, y0, x1, y1), probability)
