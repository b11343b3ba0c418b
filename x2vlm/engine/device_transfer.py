"""Batches to the device, while it computes."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch


class DeviceTransfer:
    """Copies batches to a device; to a GPU on a CUDA stream of its own, beside the kernels of the step before.

    Python is ahead of the GPU, so a copy is launched while the GPU is busy with the last step. On the stream of the
    kernels it would begin only after them. The kernels that follow wait for it; Python does not (batches of a loader
    lie in page-locked memory).

    Args:
        device: Where batches go.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> Batch:
        """The batch on the device, to be used on the stream that is current now."""
        if self.stream is None:
            return batch.to(self.device)
        with torch.cuda.stream(self.stream):
            moved = batch.to(self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        current.wait_event(self.stream.record_event())
        for value in (getattr(moved, field.name) for field in fields(moved)):
            if on_gpu(value):
                value.record_stream(current)  # else its memory could be given to the next copy while kernels read it
        return moved


def on_gpu(value: Any) -> bool:
    """Whether something is a tensor of a GPU."""
    return isinstance(value, Tensor) and value.device.type == "cuda"
