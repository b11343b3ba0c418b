"""One batch of images and regions in equal shares, of which each process has one."""

from dataclasses import fields, replace

import torch
from torch import Tensor

from tests.planning import shaped
from x2vlm.data.batch import Batch
from x2vlm.objectives.itm import ITM
from x2vlm.planning.model_shapes import Load

LOAD = Load(8, 4, 1, 10, 3, shaped.ALL)  # eight pairs; four pictures, one more for each process than it needs


class GivenITM(ITM):
    """Matching with given negatives of the same share: the next pair's context, the last pair's text."""

    def __init__(self, width: int, size: int) -> None:
        super().__init__(width)
        self.size = size

    def requests(self, encoded):
        own = torch.arange(len(encoded.batch))
        start = own - own % self.size
        return [self.request(encoded, start + (own + 1) % self.size, start + (own - 1) % self.size)]


def model_of(processes: int):
    """The model, whose negatives come from shares of a batch of eight."""
    torch.manual_seed(0)
    model = shaped.model()
    given = GivenITM(model.fusion_encoder.width, LOAD.pairs // processes)
    given.head = model.objectives.itm.head
    model.objectives["itm"] = given
    return model.train()


def whole_batch() -> Batch:
    """Neighbours look at the same picture; every second pair is a region of it. Two pairs say the same."""
    batch = shaped.batch(LOAD)
    ids = torch.tensor([0, 1, 2, 3, 0, 5, 6, 7])
    return replace(batch, owner=torch.arange(LOAD.pairs) // 2, ids=ids)


def share(number: int, processes: int) -> Batch:
    """The pairs of one process, with the pictures that they look at."""
    batch, size = whole_batch(), LOAD.pairs // processes
    pairs = slice(number * size, (number + 1) * size)
    given = {one.name: getattr(batch, one.name) for one in fields(batch)}
    mine = {
        name: value[pairs]
        for name, value in given.items()
        if isinstance(value, (Tensor, list)) and len(value) == LOAD.pairs and name != "pixels"
    }
    pictures = slice(pairs.start // 2, pairs.stop // 2)
    return replace(batch, **mine | {"pixels": batch.pixels[pictures], "owner": mine["owner"] - pictures.start})


def step(model, batch: Batch) -> dict[str, Tensor]:
    """Losses, after two backward passes: of contrast and matching, then of words and boxes."""
    losses = {}
    for objectives in (("itc", "itm"), ("mlm", "bbox")):
        given = {key: value for key, value in model(batch, objectives=objectives).items() if "loss" in key}
        sum(given.values()).backward()
        losses |= {key: value.detach().clone() for key, value in given.items()}
    return losses
