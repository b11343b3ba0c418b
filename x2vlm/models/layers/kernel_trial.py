"""Probe whether a computation runs on this machine, by running it once."""

import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


def present(device: str) -> bool:
    """Whether this machine has such a device; else its tensors are fake (``FakeTensorMode``)."""
    return device != "cuda" or torch.cuda.is_available()


def why_not(run: Callable[[], object]) -> str | None:
    """The first line of the error of a computation, or None if it runs.

    It runs in a thread of its own: autocast, inference mode, hooks on saved tensors and modes that record or replace
    operators belong to the caller's thread and do not reach it. Random numbers of the CPU stay as they were.
    """
    device = torch.cuda.current_device() if torch.cuda.is_initialized() else None  # every thread has its own
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), ThreadPoolExecutor(1) as thread:
        warnings.simplefilter("ignore")  # torch explains at length why a kernel does not fit
        try:
            thread.submit(_on_device, device, run).result()
        except (ImportError, RuntimeError, NotImplementedError, AttributeError) as error:
            return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def _on_device(device: int | None, run: Callable[[], object]) -> None:
    if device is not None:
        torch.cuda.set_device(device)
    run()
