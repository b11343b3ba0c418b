"""The formulas for activations against what autograd saves in a forward pass."""

import gc
import warnings

import pytest
import torch

from tests.planning import shaped
from x2vlm.objectives import itm
from x2vlm.planning.activations import Kept, activations, recomputed, vision_layer
from x2vlm.planning.model_shapes import Load


@pytest.fixture(autouse=True)
def evenly_drawn_negatives(monkeypatch):
    """Every context is read as often as every other."""
    monkeypatch.setattr(itm, "draw", lambda weights: torch.arange(len(weights)).roll(1))


def nodes(losses):
    """All of the graph."""
    waiting, found = [value.grad_fn for value in losses.values()], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found.add(node)
            waiting += [before for before, _ in node.next_functions]
    return found


def storages(tensors):
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def tensors():
    """Every tensor that Python holds, but those without numbers that compiling leaves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asking deprecated things of torch for their class warns
        found = [one for one in gc.get_objects() if type(one) in (torch.Tensor, torch.nn.Parameter)]
        return [one for one in found if has_numbers(one)]


def has_numbers(tensor):
    """Tensors that stand for others while functions are transformed have none of their own."""
    try:
        tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True


def saved_bytes(model, batch, objectives, precision):
    """Bytes that the graph holds, without parameters, buffers and copies of parameters in another precision."""
    held = []

    def keep(tensor):
        held.append(tensor)
        return tensor

    autocast = torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
        losses = model(batch, objectives=objectives)
    own = storages([*model.parameters(), *model.buffers()])
    shapes = {shape for p in model.parameters() if p.dim() > 1 for shape in (tuple(p.shape), tuple(p.shape)[::-1])}
    copies = storages(t for t in held if t.dtype == torch.bfloat16 and tuple(t.shape) in shapes)
    early = sum(g.nbytes for node in nodes(losses) for g in getattr(node, "grads", None) or ())  # made with the value
    return early + sum(size for place, size in storages(held).items() if place not in own and place not in copies)


LOADS = {
    "images": Load(6, 6, 1, 10, 3, ("itc", "itm", "mlm")),
    "regions": Load(8, 4, 1, 10, 3, ("itc", "itm", "mlm", "bbox")),
    "clips": Load(4, 4, 3, 11, 4, ("itc", "itm", "mlm")),
    "contrast alone": Load(6, 6, 1, 10, 3, ("itc",)),
    "matching alone": Load(6, 6, 1, 30, 0, ("itc", "itm")),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", LOADS)
def test_activations_are_what_autograd_saves(name, precision):
    load = LOADS[name]
    model = shaped.model(num_frames=3).train()
    measured = saved_bytes(model, shaped.batch(load), load.objectives, precision)
    counted = activations(shaped.shape(num_frames=3), load, unevenly=1).bytes(precision)
    assert counted == pytest.approx(measured, rel=0.03)


def test_twice_the_batch_keeps_twice_as_much():
    once, twice = (Load(n, n, 1, 10, 3, ("itc", "itm", "mlm")) for n in (4, 8))
    shape = shaped.shape()
    # What is made once for all images, and gradients of words.
    fixed = vision_layer(shape.vision, 0) * shape.vision.depth + Kept(full=(96 + 1) * 211)
    both = [activations(shape, load).bytes() - fixed.bytes() for load in (once, twice)]
    assert both[1] == 2 * both[0]


def test_recomputing_keeps_the_inputs_of_layers():
    load = LOADS["regions"]
    model, batch = shaped.model(checkpointing=True).train(), shaped.batch(load)
    model(batch, objectives=load.objectives)  # what is made once (the probe of attention kernels) is there then
    outside = []

    def keep(tensor):
        outside.append(tensor)
        return tensor

    gc.collect()
    before = storages(tensors())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(batch, objectives=load.objectives)
    found = tensors()
    held = storages([*found, *outside])
    measured = sum(size for place, size in held.items() if place not in before)
    measured -= sum(t.nbytes for t in found if t.dtype == torch.uint8)  # states of random generators, of any batch size
    assert losses
    kept, at_work = (
        one.bytes() for one in (activations(shaped.shape(), load, True, 1), recomputed(shaped.shape(), load))
    )
    assert kept == pytest.approx(measured, rel=0.08)
    assert kept + at_work < activations(shaped.shape(), load).bytes()
