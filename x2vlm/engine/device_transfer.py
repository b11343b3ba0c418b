"""Host-to-device copies of batches, on a CUDA stream of their own, while the GPU computes."""

from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from x2vlm.data.batch import Batch


class DeviceTransfer:
    """Copies batches to a device; to a GPU on a CUDA stream of its own, in parallel to the kernels of the last step.

    Python runs ahead of the GPU, so a copy is launched while the GPU is busy with the last step; on the stream of the
    kernels it would start only after them. Later kernels wait for the copy; Python does not (batches of a loader are in
    page-locked memory).

    Args:
        device: The target device.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, batch: Batch) -> Batch:
        """Copy a batch to the device, for use on the current CUDA stream."""
        if self.stream is None:
            return batch.to(self.device)
        with torch.cuda.stream(self.stream):
            moved = batch.to(self.device, non_blocking=True)
        current = torch.cuda.current_stream(self.device)
        current.wait_event(self.stream.record_event())
        for value in (getattr(moved, field.name) for field in fields(moved)):
            if on_gpu(value):
                value.record_stream(current)  # otherwise the next copy could reuse its memory while kernels read it
        return moved


def on_gpu(value: Any) -> bool:
    """Whether a value is a tensor on a GPU."""
    return isinstance(value, Tensor) and value.device.type == "cuda"
