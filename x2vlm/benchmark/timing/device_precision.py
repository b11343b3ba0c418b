"""Device and precision of both sides of a measurement."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from x2vlm.building import ConfigError
from x2vlm.engine.optim.autocast import PRECISIONS as AUTOCAST
from x2vlm.engine.optim.autocast import autocast

DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
ON_CPU = ("fp32", "bf16")


def check_device(device: str, precision: str, has_cuda: bool | None = None) -> None:
    """Raise where a device or precision is not available.

    Args:
        device: One of ``DEVICES``.
        precision: One of ``PRECISIONS``.
        has_cuda: Whether there is a CUDA device; from torch where not given.

    Raises:
        ConfigError: If there is no CUDA device, or the device has no such precision.
    """
    has_cuda = torch.cuda.is_available() if has_cuda is None else has_cuda
    if device == "cuda" and not has_cuda:
        raise ConfigError(
            f"--device cuda: torch {torch.__version__} has no CUDA device. Use --device cpu, or install a build of "
            "torch for CUDA on a machine with a GPU."
        )
    if device == "cpu" and precision not in ON_CPU:
        raise ConfigError(
            f"--precision {precision} is measured on a GPU only. On a CPU use {' or '.join(ON_CPU)}, or --device cuda."
        )


@contextmanager
def computing_in(precision: str, device: str | torch.device) -> Iterator[None]:
    """Autocast in bf16 and fp16; products of fp32 matrices by TF32 units in tf32, exactly in all others.

    The former setting of torch is restored. Convolutions follow ``torch.backends.cudnn.allow_tf32``,
    which is left as it is.

    Args:
        precision: One of ``PRECISIONS``.
        device: Where it is computed.
    """
    with matmul_precision(precision), autocast(precision if precision in AUTOCAST else "fp32", torch.device(device)):
        yield


@contextmanager
def matmul_precision(precision: str) -> Iterator[None]:
    """Whether products of fp32 matrices may use TF32 units: in ``tf32`` only."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def has_bf16_products() -> bool:
    """Whether this processor has fast products of bf16 matrices; without, they take a hundred times as long as fp32."""
    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def dtype_of(precision: str) -> torch.dtype:
    """Of the factors of a product in this precision."""
    return AUTOCAST.get(precision) or torch.float32
