"""The formulas for memory."""

import torch

from tests.planning import shaped
from x2vlm.planning.activations import activations
from x2vlm.planning.footprint import memory, optimizer_bytes
from x2vlm.planning.model_shapes import BatchShape, parameters

BATCHES = {
    "image": BatchShape(6, 6, 1, 10, 3, ("itc", "itm", "mlm")),
    "region": BatchShape(8, 4, 1, 10, 3, ("itc", "itm", "mlm", "bbox")),
}


def test_activations_are_those_of_the_streams_that_go_together():
    shape = shaped.shape(num_frames=3)
    batches = BATCHES | {"video": BatchShape(4, 4, 3, 11, 4, ("itc", "itm", "mlm"))}
    of = {name: activations(shape, batch).bytes() for name, batch in batches.items()}
    by_stream = memory(shape, batches, passes=[["video"], ["image"], ["region"]])
    assert memory(shape, batches)["activations"] == max(of["image"] + of["region"], of["video"])
    assert by_stream["activations"] == max(of.values())


def test_memory_shrinks_with_shards():
    shape = shaped.shape()
    count = sum(parameters(shape).values())
    one, eight = memory(shape, BATCHES), memory(shape, BATCHES, 8)
    sharded = memory(shape, BATCHES, 8, sharded=True)
    assert (one["weights"], one["optimizer"], one["buckets"]) == (4 * count, 8 * count, 0)
    assert eight["buckets"] == 4 * count
    assert sharded["optimizer"] == count
    assert sharded["total"] == sum(number for name, number in sharded.items() if name != "total")
    assert sharded["activations"] == eight["activations"]


def test_recomputing_and_half_precision_need_less():
    shape = shaped.shape()
    full = memory(shape, BATCHES)["activations"]
    assert memory(shape, BATCHES, precision="bf16")["activations"] < 0.7 * full
    assert memory(shape, BATCHES, checkpointing=True)["activations"] < 0.7 * full


def test_the_optimizer_holds_what_the_formula_says():
    model = shaped.model(width=48)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    held = sum(value.nbytes for state in optimizer.state.values() for value in state.values())
    counters = 4 * len(optimizer.state)  # a step number for every tensor
    assert held - counters == optimizer_bytes(sum(p.numel() for p in model.parameters()))
