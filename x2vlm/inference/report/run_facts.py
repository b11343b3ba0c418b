"""What a run cost and what it ran on, for people to compare."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from fvcore.nn import parameter_count

import x2vlm

PACKAGES = ("torch", "mmengine", "transformers", "timm", "numpy")
TOWERS = ("vision_encoder", "text_encoder", "fusion_encoder")


def run_facts(model: Any, seconds: dict[str, float]) -> list[tuple[str, str]]:
    """Name and value of what is worth knowing about this process's run.

    Args:
        model: The model.
        seconds: Wall time by what it was spent on.
    """
    memory = peak_memory()
    return [
        *((what, duration(spent)) for what, spent in seconds.items()),
        *([("peak memory", memory)] if memory else []),
        ("parameters", parameters(model)),
        ("machine", machine(model.device)),
        ("versions", ", ".join(versions())),
    ]


def duration(seconds: float) -> str:
    """``"1 h 2 min"``, ``"2 min 5 s"``, ``"5.2 s"``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def parameters(model: Any) -> str:
    """How many there are, in all and in each tower, and how many of them are trained."""
    counts = parameter_count(model)  # by module name; "" is the whole
    towers, total = {name: counts[name] for name in TOWERS}, counts[""]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    parts = ", ".join(f"{name.removesuffix('_encoder')} {count:,}" for name, count in towers.items())
    return f"{total:,} ({parts}, heads {total - sum(towers.values()):,}); {trained:,} are trained"


def peak_memory() -> str:
    """The most memory this process has held, and on a GPU; empty where the system does not tell."""
    found = []
    if sys.platform != "win32":
        import resource  # Unix only

        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
        found.append(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.2f} GiB")
    if torch.cuda.is_available():
        found.append(f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU")
    return ", ".join(found)


def machine(device: torch.device) -> str:
    """What the model ran on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {platform.system()}"
    return f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} used, {platform.machine()}, {platform.system()}"


def versions(packages: Sequence[str] = PACKAGES) -> list[str]:
    """``["x2vlm 0.1.0", "Python 3.11.2", ...]``; packages that are not installed are left out."""
    found = [f"x2vlm {x2vlm.__version__}", f"Python {platform.python_version()}"]
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return found
