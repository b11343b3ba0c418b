"""One record as images with boxes, as the annotations have it and as training sees it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageDraw

from x2vlm.boxes_to_patches import boxes_to_patch_mask
from x2vlm.data.batch import Sample
from x2vlm.data.inspection.decode_media import DecodeMedia
from x2vlm.data.record import Record
from x2vlm.data.transforms.elements import box_inside, on_real_size

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075", "#f032e6")
COLOURS += ("#00a5cf", "#6b8e23", "#ff7f7f", "#5f4b8b", "#b8860b", "#2f4f4f")
"""Of the boxes, in turn."""

_BORDER = 3  # pixels


class Drawing(NamedTuple):
    """What is to be looked at.

    Attributes:
        images: ``[H, W, 3]`` uint8 each, boxes drawn in.
        texts: Each with the colour of its box; None where it is about all of the image.
        problems: What is wrong with elements that cannot be drawn.
    """

    images: list[np.ndarray]
    texts: list[tuple[str, str | None]]
    problems: list[str]


def draw_annotations(record: Record, decode: DecodeMedia | None = None) -> Drawing:
    """The record as its annotations have it: the image as it is stored, every element with its box.

    Args:
        record: The record, without a pipeline.
        decode: What reads its images and videos.

    Raises:
        RecordError: If it cannot be read.
    """
    record = (decode or DecodeMedia())(record)
    frames, texts, problems = (
        list(record.get("frames", ())),
        [(text, None) for text in texts_of_annotations(record)],
        [],
    )
    elems = record.get("elems") or ()
    if elems and frames:
        height, width = frames[0].shape[:2]
        elems = on_real_size(record, (height, width), rescale=True)["elems"]
        boxes = []
        for number, elem in enumerate(elems):
            colour = COLOURS[number % len(COLOURS)]
            words = " ".join(filter(None, (_joined(elem.get("attributes")), _joined(elem.get("caption")))))
            try:
                boxes.append((box_inside(elem, width, height), colour))
                texts.append((words, colour))
            except ValueError as error:
                problems.append(f"elems[{number}] {words!r:.60}: {error}")
        frames[0] = with_boxes(frames[0], boxes)
    return Drawing(frames, texts, problems)


def draw_sample(sample: Sample, levels: np.ndarray, patch_size: int) -> Drawing:
    """The sample as training sees it: cropped, mirrored, coloured; its boxes, and the patches that each touches.

    Args:
        sample: What the pipeline makes.
        levels: ``[3, 256]``, what each level of a channel was made into (``PackSample.values``).
        patch_size: Side of a patch in pixels: patches that a region reads are light, patches that are masked are grey.
    """
    if sample.pixels is None:
        return Drawing([], [(str(text), None) for text in sample.texts], [])
    frames = [unnormalised(one, levels) for one in _frames(sample.pixels)]
    boxes = [None] * len(sample.texts) if sample.boxes_xyxy is None else list(sample.boxes_xyxy)
    has_box = [False] * len(boxes) if sample.has_box is None else sample.has_box.tolist()
    texts: list[tuple[str, str | None]] = []
    drawn, regions = [], []
    height, width = frames[0].shape[:2]
    for number, (text, box, own) in enumerate(zip(sample.texts, boxes, has_box, strict=True)):
        colour = COLOURS[number % len(COLOURS)] if own else None
        texts.append((text if isinstance(text, str) else " | ".join(text), colour))
        if own:
            drawn.append(((box * torch.tensor([width, height, width, height])).tolist(), colour))
            regions.append(box)
    if sample.masked_patches is not None:
        masks = sample.masked_patches.reshape(-1, sample.masked_patches.shape[-1])
        frames = [greyed(frame, mask, 0.15) for frame, mask in zip(frames, masks, strict=False)] + frames[len(masks) :]
    if regions:
        grid = max(height // patch_size, 1), max(width // patch_size, 1)
        outside = ~boxes_to_patch_mask(torch.stack(regions), grid).any(dim=0)
        frames[0] = greyed(frames[0], outside, 0.5, grid)
    return Drawing([with_boxes(frames[0], drawn), *frames[1:]], texts, [])


def unnormalised(pixels: torch.Tensor, levels: np.ndarray) -> np.ndarray:
    """``[3, H, W]`` normalised pixels as ``[H, W, 3]`` uint8."""
    low, high = torch.from_numpy(levels[:, :1, None]), torch.from_numpy(levels[:, -1:, None])
    return ((pixels - low) / (high - low) * 255).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()


def with_boxes(frame: np.ndarray, boxes: Sequence[tuple[Sequence[float], str]]) -> np.ndarray:
    """A copy of the frame with boxes (xyxy in pixels) in their colours."""
    image = Image.fromarray(np.ascontiguousarray(frame))
    draw = ImageDraw.Draw(image)
    for (x0, y0, x1, y1), colour in boxes:
        draw.rectangle([x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)], outline=colour, width=_BORDER)
    return np.asarray(image)


def greyed(frame: np.ndarray, patches: torch.Tensor, light: float, grid: tuple[int, int] | None = None) -> np.ndarray:
    """The frame with some patches (``[rows * cols]`` bool; a square grid if none is given) made darker."""
    rows, cols = grid or (round(len(patches) ** 0.5),) * 2
    mask = Image.fromarray((patches.reshape(rows, cols).numpy() * 255).astype(np.uint8))
    dark = np.asarray(mask.resize(frame.shape[1::-1], Image.Resampling.NEAREST)) > 0
    return np.where(dark[..., None], frame * light, frame).astype(np.uint8)


def texts_of_annotations(record: Record) -> list[str]:
    """Every text about the whole of what a record shows, with its language or its part where it has one."""
    found = []
    for key in ("caption", "question", "answers", "label", "text", "text_pair", "parallel"):
        name = "" if key == "caption" else f"{key}: "
        found += [f"{name}{text}" for text in _texts(record.get(key))]
    return found + [text for clip in record.get("clips") or () for text in _texts(clip.get("caption"))]


def _frames(pixels: torch.Tensor) -> list[torch.Tensor]:
    return [pixels] if pixels.dim() == 3 else list(pixels)


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, dict):
        return [f"{language}: {text}" for language, texts in value.items() for text in _texts(texts)]
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return [str(value)]


def _joined(value: Any) -> str:
    return " / ".join(_texts(value))
