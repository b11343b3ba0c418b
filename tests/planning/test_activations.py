"""The formulas for activations against what autograd saves in a forward pass."""

import gc
import warnings

import pytest
import torch

from tests.planning import shaped
from x2vlm.objectives import itm
from x2vlm.planning.activations import SavedTensors, activations, recomputed, vision_layer
from x2vlm.planning.model_shapes import BatchShape


@pytest.fixture(autouse=True)
def evenly_drawn_negatives(monkeypatch):
    """Every context is read as often as every other."""
    monkeypatch.setattr(itm, "draw", lambda weights: torch.arange(len(weights)).roll(1))


def nodes(losses):
    """All of the graph."""
    waiting, visited = [value.grad_fn for value in losses.values()], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in visited:
            visited.add(node)
            waiting += [before for before, _ in node.next_functions]
    return visited


def storages(tensors):
    return {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}


def tensors():
    """Every tensor that Python holds, but those without numbers that compiling leaves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # asking deprecated things of torch for their class warns
        alive = [value for value in gc.get_objects() if type(value) in (torch.Tensor, torch.nn.Parameter)]
        return [tensor for tensor in alive if has_numbers(tensor)]


def has_numbers(tensor):
    """Tensors that stand for others while functions are transformed have no storage."""
    try:
        tensor.untyped_storage().data_ptr()
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
    parameters = storages([*model.parameters(), *model.buffers()])
    shapes = {shape for p in model.parameters() if p.dim() > 1 for shape in (tuple(p.shape), tuple(p.shape)[::-1])}
    copies = storages(t for t in held if t.dtype == torch.bfloat16 and tuple(t.shape) in shapes)
    early = sum(g.nbytes for node in nodes(losses) for g in getattr(node, "grads", None) or ())  # made with the value
    return early + sum(
        size for pointer, size in storages(held).items() if pointer not in parameters and pointer not in copies
    )


BATCHES = {
    "images": BatchShape(6, 6, 1, 10, 3, ("itc", "itm", "mlm")),
    "regions": BatchShape(8, 4, 1, 10, 3, ("itc", "itm", "mlm", "bbox")),
    "clips": BatchShape(4, 4, 3, 11, 4, ("itc", "itm", "mlm")),
    "contrast only": BatchShape(6, 6, 1, 10, 3, ("itc",)),
    "matching only": BatchShape(6, 6, 1, 30, 0, ("itc", "itm")),
}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", BATCHES)
def test_activations_are_what_autograd_saves(name, precision):
    batch_shape = BATCHES[name]
    model = shaped.model(num_frames=3).train()
    measured = saved_bytes(model, shaped.batch(batch_shape), batch_shape.objectives, precision)
    counted = activations(shaped.shape(num_frames=3), batch_shape, imbalance=1).bytes(precision)
    assert counted == pytest.approx(measured, rel=0.03)


def test_twice_the_batch_keeps_twice_as_much():
    once, twice = (BatchShape(n, n, 1, 10, 3, ("itc", "itm", "mlm")) for n in (4, 8))
    shape = shaped.shape()
    # What is made once for all images, and gradients of words.
    fixed = vision_layer(shape.vision, 0) * shape.vision.depth + SavedTensors(full=(96 + 1) * 211)
    both = [activations(shape, batch_shape).bytes() - fixed.bytes() for batch_shape in (once, twice)]
    assert both[1] == 2 * both[0]


def test_recomputing_keeps_the_inputs_of_layers():
    batch_shape = BATCHES["regions"]
    model, batch = shaped.model(checkpointing=True).train(), shaped.batch(batch_shape)
    model(batch, objectives=batch_shape.objectives)  # what is made once (the probe of attention kernels) is there then
    outside = []

    def keep(tensor):
        outside.append(tensor)
        return tensor

    gc.collect()
    before = storages(tensors())
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = model(batch, objectives=batch_shape.objectives)
    alive = tensors()
    held = storages([*alive, *outside])
    measured = sum(size for pointer, size in held.items() if pointer not in before)
    measured -= sum(t.nbytes for t in alive if t.dtype == torch.uint8)  # states of random generators, of any batch size
    assert losses
    kept, at_work = (
        saved.bytes()
        for saved in (
            activations(shaped.shape(), batch_shape, True, 1),
            recomputed(shaped.shape(), batch_shape),
        )
    )
    assert kept == pytest.approx(measured, rel=0.08)
    assert kept + at_work < activations(shaped.shape(), batch_shape).bytes()
