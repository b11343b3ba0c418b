"""Out of memory in a step: an error that names the streams, the memory of the device, and the settings to lower."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from x2vlm.data.streams import Stream

_CPU_SIGNS = re.compile(r"DefaultCPUAllocator|[Cc]an't allocate memory|not enough memory|[Cc]annot allocate memory")
_GIB = 2**30


class StepOutOfMemoryError(torch.cuda.OutOfMemoryError):
    """A training step does not fit into the memory of the device."""


@contextmanager
def explaining_out_of_memory(describe: Callable[[], str]) -> Iterator[None]:
    """Around a pass of a step: turn the allocator's error into one that says what helps.

    Args:
        describe: Returns the sentences; called only on an error.

    Raises:
        StepOutOfMemoryError: From the allocator's error.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        first = str(error).partition("\n")[0] or type(error).__name__
        raise StepOutOfMemoryError(f"{describe()}\nThe allocator said: {first}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error, of a GPU's or the CPU's allocator."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and _CPU_SIGNS.search(str(error)) is not None


def describe_pass(pass_name: str, streams: Sequence[Stream], device: torch.device, settings: Mapping[str, Any]) -> str:
    """Batch sizes of a pass (or an update), memory use of the device, and settings that lower it.

    Args:
        pass_name: Such as ``"iteration 3"``.
        streams: Streams of the pass.
        device: The device of the model.
        settings: The current ``passes`` of the loop, ``precision`` of the optimizer wrapper and
            ``activation_checkpointing`` of the model.
    """
    sizes = ", ".join(_size(stream) for stream in streams)
    cures = [cure for stream in streams for cure in _stream_cures(stream)] + _setting_cures(len(streams), settings)
    return f"{pass_name}: out of memory with {sizes}. {describe_memory(device)}\nWhat helps: {'; '.join(cures)}."


def describe_memory(device: torch.device) -> str:
    """Total, reserved and allocated memory of a GPU; for another device only its name."""
    if device.type != "cuda":
        return f"The device is {device}."
    total = torch.cuda.get_device_properties(device).total_memory / _GIB
    allocated, reserved = torch.cuda.memory_allocated(device) / _GIB, torch.cuda.memory_reserved(device) / _GIB
    return (
        f"Of the {total:.1f} GiB of {device} torch has reserved {reserved:.1f}, of which {allocated:.1f} are allocated."
    )


def _size(stream: Stream) -> str:
    records = f" from {stream.records_per_batch} records" if stream.records_per_batch != stream.batch_size else ""
    return f"stream '{stream.name}' ({stream.batch_size} pairs{records})"


def _stream_cures(stream: Stream) -> list[str]:
    cures = [f"a lower streams.{stream.name}.batch_size (now {stream.batch_size})"]
    if stream.records_per_batch != stream.batch_size:
        cures.append(f"a lower streams.{stream.name}.max_images (now {stream.records_per_batch})")
    return cures


def _setting_cures(streams: int, settings: Mapping[str, Any]) -> list[str]:
    cures = []
    if not settings["activation_checkpointing"]:
        cures.append("model.activation_checkpointing=True, which takes more time")
    if streams > 1 and settings["passes"] == "together":
        cures.append('train_cfg.passes="by_stream" (now "together")')
    if settings["precision"] == "fp32":
        cures.append('optim_wrapper.precision="bf16" (now "fp32")')
    return cures
