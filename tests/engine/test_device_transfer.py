"""Batches on their way to the device; the streams of CUDA are stood in for, as the order of calls is what matters."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

from tests.models.conftest import image_batch
from x2vlm.engine.device_transfer import DeviceTransfer


def test_on_a_cpu_a_batch_stays_where_it_is():
    batch = image_batch()
    moved = DeviceTransfer(torch.device("cpu"))(batch)
    assert moved.pixels is batch.pixels
    assert moved.host is None


@pytest.fixture
def calls(monkeypatch):
    """What is done in which order, with the meta device in the place of a GPU."""
    calls, inside = [], []

    @contextmanager
    def entered(stream):
        inside.append(stream)
        yield
        inside.pop()

    copies = SimpleNamespace(record_event=lambda: calls.append("event") or "the event")
    current = SimpleNamespace(wait_event=lambda event: calls.append(f"wait for {event}"))
    monkeypatch.setattr("torch.cuda.Stream", lambda device: copies)
    monkeypatch.setattr("torch.cuda.stream", entered)
    monkeypatch.setattr("torch.cuda.current_stream", lambda device: current)
    monkeypatch.setattr("torch.Tensor.record_stream", lambda tensor, stream: calls.append("keep"))
    move = image_batch().__class__.to

    def moving(batch, device, non_blocking=False):
        calls.append("copy" if inside == [copies] and non_blocking else "copy in the way of kernels")
        moved = move(batch, "meta")
        for value in vars(moved).values():
            if isinstance(value, torch.Tensor):
                calls.append("tensor")
        return moved

    monkeypatch.setattr("x2vlm.data.batch.Batch.to", moving)
    monkeypatch.setattr("x2vlm.engine.device_transfer.on_gpu", lambda value: isinstance(value, torch.Tensor))
    return calls


def test_to_a_gpu_it_is_copied_beside_the_kernels_which_wait_for_it(calls):
    DeviceTransfer(torch.device("cuda"))(image_batch())
    count = calls.count("tensor")
    order = [call for call in calls if call != "tensor"]
    assert order == ["copy", "event", "wait for the event", *["keep"] * count]
    assert count > 3
