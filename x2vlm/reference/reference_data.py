"""Read regions as published: images in base64 within the lines, decoded in full, every text padded to the maximum.

Shape letters: R regions of an image, N patches.
"""

import base64
import io
import json
import math
import random
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.functional import normalize, to_tensor

from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Sample
from x2vlm.data.transforms.pack_sample import CLIP_MEAN, CLIP_STD
from x2vlm.data.transforms.texts.text_cleaning import clean_caption

INSIDE = 0.5


def read_regions(
    line: str, side: int, grid: tuple[int, int], change: Callable[[np.ndarray], np.ndarray], max_regions: int = 5
) -> Sample:
    """A sample from a line ``{"binary", "caption", "elems": [{"bb", "caption"}]}``, with its patch masks.

    Args:
        line: JSON.
        side: Of the output image, in pixels.
        grid: Rows and columns of its patches.
        change: RandAugment of a ``[side, side, 3]`` array.
        max_regions: At most so many texts.
    """
    record = json.loads(line)
    image = Image.open(io.BytesIO(base64.b64decode(record["binary"]))).convert("RGB")
    width, height = image.size
    elements = [(element["bb"], _in_a_language(element["caption"])) for element in record["elems"]]
    (x, y, w, h), _ = random.choice(elements)
    left, top = random.randint(0, math.floor(x)), random.randint(0, math.floor(y))
    right = random.randint(min(math.ceil(x + w), width), width)
    bottom = random.randint(min(math.ceil(y + h), height), height)
    random.shuffle(elements)
    image = image.crop((left, top, right, bottom))
    mirrored = random.random() < 0.5
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    image = image.resize((side, side), Image.Resampling.BICUBIC)
    texts, boxes = [clean_caption(record["caption"])], [(0.0, 0.0, 1.0, 1.0)]
    for (x, y, w, h), caption in elements:
        if len(texts) == max_regions:
            break
        x0, y0, x1, y1 = max(x, left), max(y, top), min(x + w, right), min(y + h, bottom)
        if x1 <= x0 or y1 <= y0 or (x1 - x0) * (y1 - y0) / (w * h) <= INSIDE:
            continue
        x0, x1, y0, y1 = x0 - left, x1 - left, y0 - top, y1 - top
        if mirrored:
            x0, x1 = right - left - x1, right - left - x0
        texts.append(clean_caption(caption))
        boxes.append((x0 / (right - left), y0 / (bottom - top), x1 / (right - left), y1 / (bottom - top)))
    frame = np.require(change(np.asarray(image)), requirements=["C", "W"])
    masks = [boxes_to_patch_mask(torch.tensor([box]), grid) for box in boxes]
    return Sample(
        where="a line",
        texts=texts,
        pixels=normalize(to_tensor(frame), CLIP_MEAN, CLIP_STD),
        boxes_xyxy=torch.tensor(boxes),
        has_box=torch.arange(len(texts)) > 0,
        ids=[f"{record['image']}{box}" for box in boxes],
        extras={"patch_mask": torch.cat(masks)},
    )


def _in_a_language(caption: str | dict[str, str]) -> str:
    """A caption in any of its languages."""
    language = random.choice(list(caption) if isinstance(caption, dict) else [None])
    return caption if language is None else caption[language]
