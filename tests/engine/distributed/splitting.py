"""One batch of images and regions in equal shares, of which each process has one."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from tests.planning import shaped
from x2vlm.data.batch import Batch
from x2vlm.objectives.itm import ITM
from x2vlm.planning.model_shapes import BatchShape

BATCH = BatchShape(8, 4, 1, 10, 3, shaped.ALL)  # eight pairs; four images, one more for each process than it needs


class FixedNegativesITM(ITM):
    """Matching with fixed negatives within the same share: the next pair's context, the last pair's text."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width)
        self.size = size

    def requests(self, encoded):
        index = torch.arange(len(encoded.batch))
        start = index - index % self.size
        return [self.request(encoded, start + (index + 1) % self.size, start + (index - 1) % self.size)]


def model_of(processes: int):
    """The model, whose negatives come from shares of a batch of eight."""
    torch.manual_seed(0)
    model = shaped.model()
    fixed = FixedNegativesITM(model.fusion_encoder.width, BATCH.pairs // processes)
    fixed.head = model.objectives.itm.head
    model.objectives["itm"] = fixed
    return model.train()


def whole_batch() -> Batch:
    """Neighbours have the same image; every second pair is a region of it. Two pairs have the same text."""
    batch = shaped.batch(BATCH)
    ids = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7])
    return replace(batch, owner=torch.arange(BATCH.pairs) // 2, ids=ids)


def share(number: int, processes: int) -> Batch:
    """The pairs of one process, with their images."""
    batch, size = whole_batch(), BATCH.pairs // processes
    pairs = slice(number * size, (number + 1) * size)
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    mine = {
        name: value[pairs]
        for name, value in values.items()
        if isinstance(value, (Tensor, list)) and len(value) == BATCH.pairs and name != "pixels"
    }
    images = slice(pairs.start // 2, pairs.stop // 2)
    return replace(batch, **mine | {"pixels": batch.pixels[images], "owner": mine["owner"] - images.start})


def step(model, batch: Batch) -> dict[str, Tensor]:
    """Losses, after two backward passes: of contrast and matching, then of words and boxes."""
    losses = {}
    for objectives in (("itc", "itm"), ("mlm", "bbox")):
        named = {key: value for key, value in model(batch, objectives=objectives).items() if "loss" in key}
        sum(named.values()).backward()
        losses |= {key: value.detach().clone() for key, value in named.items()}
    return losses
