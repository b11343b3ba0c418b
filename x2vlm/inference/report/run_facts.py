"""Time, memory, parameters and versions of a run, for the report page."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from fvcore.nn import parameter_count

import x2vlm
from x2vlm.engine.process_memory import peak_memory

PACKAGES = ("torch", "mmengine", "transformers", "timm", "numpy")
TOWERS = ("vision_encoder", "text_encoder", "fusion_encoder")


def run_facts(model: Any, seconds: dict[str, float]) -> list[tuple[str, str]]:
    """Names and values for the report's table.

    Args:
        model: The model.
        seconds: Wall time by phase.
    """
    memory = format_peak_memory()
    return [
        *((phase, duration(spent)) for phase, spent in seconds.items()),
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
    """Number of parameters, in total, by tower, and trainable."""
    counts = parameter_count(model)  # by module name; "" is the whole
    towers, total = {name: counts[name] for name in TOWERS}, counts[""]
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    by_tower = ", ".join(f"{name.removesuffix('_encoder')} {count:,}" for name, count in towers.items())
    return f"{total:,} ({by_tower}, heads {total - sum(towers.values()):,}); {trained:,} are trained"


def format_peak_memory() -> str:
    """Peak memory of this process, and on the GPU; empty where the system does not report it."""
    most = peak_memory()
    values = [] if most is None else [f"{most / 2**30:.2f} GiB"]
    if torch.cuda.is_available():
        values.append(f"{torch.cuda.max_memory_allocated() / 2**30:.2f} GiB on the GPU")
    return ", ".join(values)


def machine(device: torch.device) -> str:
    """The GPU or CPU of the model."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {platform.system()}"
    return f"CPU, {os.cpu_count()} cores, {torch.get_num_threads()} used, {platform.machine()}, {platform.system()}"


def versions(packages: Sequence[str] = PACKAGES) -> list[str]:
    """``["x2vlm 0.1.0", "Python 3.11.2", ...]``; packages that are not installed are left out."""
    installed = [f"x2vlm {x2vlm.__version__}", f"Python {platform.python_version()}"]
    for package in packages:
        try:
            installed.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    return installed
