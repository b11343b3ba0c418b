"""Batches whose shapes differ from step to step, with lengths of texts like those of real captions and phrases.

Shape letters: B texts, L tokens, M masked tokens.
"""

from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from x2vlm.benchmark.workloads.model_sizes import FIRST_WORD, MASK_ID, MASKS, OBJECTIVES, Size, pixels, ragged
from x2vlm.boxes import cxcywh_to_xyxy
from x2vlm.constants import IGNORE_INDEX
from x2vlm.data.batch import Batch

CLS_ID, SEP_ID = 2, 3
Stream = tuple[Batch, list[str]]  # and the objectives it trains


@dataclass(frozen=True)
class Lengths:
    """Tokens of a text, [CLS] and [SEP] included: a normal distribution, rounded and cut off."""

    mean: float
    deviation: float
    least: int
    greatest: int

    def draw(self, count: int, generator: Generator) -> Tensor:
        """``[count]`` long."""
        drawn = self.mean + self.deviation * torch.randn(count, generator=generator)
        return drawn.round().long().clamp(self.least, self.greatest)


CAPTIONS = Lengths(12, 4, 5, 35)  # as in Flickr8k
PHRASES = Lengths(5, 1.5, 3, 12)
_MASKED = (0.15, 0.25)  # share of the tokens of a text that are masked


def varied_batches(size: Size, pairs: int, count: int, seed: int = 0) -> list[dict[str, Stream]]:
    """``count`` batches of ``pairs`` captions and ``pairs`` regions, the same for the same seed.

    Captions have one image each. Regions lie on ``pairs // 5`` to ``pairs // 2`` images, at least one on each. The
    pixels of all batches are parts of the same two tensors of noise, so that many batches take little memory.
    """
    generator = torch.Generator().manual_seed(seed)
    caption_pixels, region_pixels = pixels(pairs, size.image), pixels(max(1, pairs // 2), size.image)
    paired = [name for name in OBJECTIVES if name != "bbox"]
    return [
        {
            "image": (_captions(size, caption_pixels, generator), paired),
            "region": (_regions(size, region_pixels, pairs, generator), list(OBJECTIVES)),
        }
        for _ in range(count)
    ]


def on_device(batches: list[dict[str, Stream]], device: str) -> list[dict[str, Stream]]:
    """The same batches on a device, where they share their pixels too."""
    largest: dict[str, Tensor] = {}
    for streams in batches:
        for name, (batch, _) in streams.items():
            if name not in largest or len(batch.pixels) > len(largest[name]):
                largest[name] = batch.pixels
    moved = {name: tensor.to(device) for name, tensor in largest.items()}
    return [
        {name: (_moved(batch, moved[name], device), objectives) for name, (batch, objectives) in streams.items()}
        for streams in batches
    ]


def _moved(batch: Batch, images: Tensor, device: str) -> Batch:
    return replace(replace(batch, pixels=None).to(device), pixels=images[: len(batch.pixels)])


def _captions(size: Size, images: Tensor, generator: Generator) -> Batch:
    index = torch.arange(len(images))
    texts = _texts(size, CAPTIONS.draw(len(images), generator), generator)
    return Batch(**texts, pixels=images, owner=index, ids=index)


def _regions(size: Size, images: Tensor, count: int, generator: Generator) -> Batch:
    least = max(1, count // 5)
    num_images = int(torch.randint(least, max(least, count // 2) + 1, (1,), generator=generator))
    others = torch.randint(num_images, (count - num_images,), generator=generator)
    extent = 0.2 + 0.5 * torch.rand(count, 2, generator=generator)
    middle = extent / 2 + (1 - extent) * torch.rand(count, 2, generator=generator)
    return Batch(
        **_texts(size, PHRASES.draw(count, generator), generator),
        pixels=images[:num_images],
        owner=torch.cat([torch.arange(num_images), others]).sort().values,
        boxes_xyxy=cxcywh_to_xyxy(torch.cat([middle, extent], dim=1)).clamp(0, 1),
        has_box=torch.ones(count, dtype=torch.bool),
        ids=torch.arange(count),
    )


def _texts(size: Size, lengths: Tensor, generator: Generator) -> dict[str, Tensor]:
    """Texts of these lengths, padded to the longest of them, some of their words masked."""
    mask = ragged(lengths, int(lengths.max()))
    ids = torch.randint(FIRST_WORD, size.vocab_size, mask.shape, generator=generator)
    ids[:, 0] = CLS_ID
    ids = ids.scatter(1, lengths[:, None] - 1, SEP_ID).masked_fill(~mask, 0)
    positions, is_masked = _masked_positions(lengths, mask.shape[1], generator)
    masked = ids.clone()
    rows = torch.arange(len(ids))[:, None].expand_as(positions)
    masked[rows[is_masked], positions[is_masked]] = MASK_ID
    return {
        "text_ids": ids,
        "text_mask": mask,
        "masked_ids": masked,
        "mlm_positions": positions,
        "mlm_labels": ids.gather(1, positions).masked_fill(~is_masked, IGNORE_INDEX),
    }


def _masked_positions(lengths: Tensor, longest: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """``[B, M]`` positions of masked tokens, at least one per text, and a bool mask of real ones; 0 elsewhere."""
    least, greatest = _MASKED
    share = least + (greatest - least) * torch.rand(len(lengths), generator=generator)
    words = lengths - 2
    counts = (share * words).round().long().clamp(1, MASKS)
    order = torch.rand(len(lengths), longest - 1, generator=generator)
    order = order.masked_fill(torch.arange(longest - 1)[None] >= words[:, None], 2.0)  # [SEP] and padding come last
    is_masked = ragged(counts, int(counts.max()))
    positions = 1 + order.argsort(dim=1)[:, : is_masked.shape[1]]
    return positions.masked_fill(~is_masked, 0), is_masked
