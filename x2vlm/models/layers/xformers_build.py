"""Check that the kernels of an installed xformers fit the running torch, without importing xformers.

Importing it beside another torch than it was built for prints warnings, and no kernel is loaded.
"""

import json
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

STABLE = (2, 10)  # built for this torch or a later one, its kernels load beside later ones too


def check_xformers(device: str) -> None:
    """Check that xformers can run here.

    Raises:
        NotImplementedError: If the device is not CUDA, or xformers was built for another torch or CUDA.
    """
    if device != "cuda":
        raise NotImplementedError("its kernels are for CUDA; on a CPU leave it to 'auto'")
    record = _record()
    if record and (reason := mismatch(json.loads(record), torch.__version__, torch.version.cuda)):
        raise NotImplementedError(reason)


def mismatch(built: dict[str, dict], torch_version: str, cuda_version: str | None) -> str | None:
    """The reason why kernels built for one torch do not load in another, or None.

    Args:
        built: What xformers records of its build: ``version.torch`` as ``2.10.0+cu128``, ``version.cuda`` as ``1208``.
        torch_version: Of the torch that runs.
        cuda_version: What that torch was built for, as ``13.0``; None: not for CUDA.
    """
    wanted, cuda = built["version"]["torch"], built["version"].get("cuda")
    before, now = (tuple(int(part) for part in x.split("+")[0].split(".")[:2]) for x in (wanted, torch_version))
    fits = before == now or STABLE <= before < now
    if fits and (cuda is None or cuda_version is None or int(cuda) // 100 == int(cuda_version.split(".")[0])):
        return None
    return (
        f"the installed xformers was built for torch {wanted}, and this is torch {torch_version}. Install the build "
        "for this torch, or leave it to 'auto', which needs no xformers"
    )


@cache
def _record() -> str | None:
    """The text of the build record; None where there is none, as in builds without kernels of their own."""
    spec = find_spec("xformers")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).with_name("cpp_lib.json")
    return path.read_text() if path.exists() else None
