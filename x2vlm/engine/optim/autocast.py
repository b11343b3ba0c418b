"""Autocast in fp32, bf16 or fp16, on CPU and GPU."""

from contextlib import AbstractContextManager

import torch

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """``torch.autocast`` of a device type at a precision by name; fp32 disables it.

    Args:
        precision: ``fp32``, ``bf16`` or ``fp16``.
        device: Only its type matters.

    Raises:
        ValueError: If the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision '{precision}' is not known. Accepted: {', '.join(PRECISIONS)}.")
    dtype = PRECISIONS[precision]
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
