"""Process group of a run: joining it from torchrun or Slurm, over NCCL on GPUs and gloo on CPUs."""

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from x2vlm.building import ConfigError

LAUNCHERS = ("none", "pytorch", "slurm")
_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}


def init_processes(launcher: str, dist_cfg: Mapping[str, Any] | None = None) -> None:
    """Initialise the process group, if the launcher started several processes.

    Backends are NCCL for GPUs and gloo for CPUs. With GPUs both are up: numbers that Python reads, such as the batch
    size of another rank, go over gloo, so that no GPU is waited for.

    Args:
        launcher: ``none``; ``pytorch`` for processes that torchrun started; ``slurm`` for those of srun.
        dist_cfg: ``backend``, and ``timeout``: seconds that a collective waits for the other ranks.

    Raises:
        ConfigError: If the launcher is unknown or did not start this process, or other ranks do not join.
    """
    if launcher not in LAUNCHERS:
        raise ConfigError(f"'{launcher}' is not known. Accepted: {', '.join(LAUNCHERS)}.", "launcher")
    options = dict(dist_cfg or {})
    backend = options.pop("backend", default_backend(torch.cuda.is_available()))
    timeout = options.pop("timeout", None)
    if options or (timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0)):
        raise ConfigError(f"takes backend and timeout (seconds, above 0); given: {dict(dist_cfg)}.", "env_cfg.dist_cfg")
    if launcher == "none" or dist.is_initialized():
        return
    if launcher == "slurm":
        _set_variables_from_slurm()
    if "RANK" not in os.environ:
        raise ConfigError(
            "launcher 'pytorch' is for processes that torchrun started; see tools/dist_train.sh.", "launcher"
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        dist.init_process_group(backend, timeout=None if timeout is None else timedelta(seconds=timeout))
    except (dist.DistStoreError, dist.DistNetworkError) as error:
        where = ":".join(os.environ.get(key, "?") for key in ("MASTER_ADDR", "MASTER_PORT"))
        text = str(error).splitlines()[0]
        raise ConfigError(
            f"{os.environ.get('WORLD_SIZE')} processes were to meet at {where}, and not all came ({text}).", "launcher"
        ) from error


def default_backend(gpus: bool) -> str:
    """The ``backend`` of ``init_process_group``, with GPUs or without."""
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def _set_variables_from_slurm() -> None:
    """Set the environment variables of torch's rendezvous from Slurm's; ``MASTER_ADDR`` and ``MASTER_PORT`` stay."""
    missing = [variable for variable in _SLURM.values() if variable not in os.environ]
    if missing:
        raise ConfigError(
            f"launcher 'slurm' is for processes that srun started, but {', '.join(missing)} is not set; "
            "see tools/slurm_train.sh.",
            "launcher",
        )
    os.environ.update({ours: os.environ[theirs] for ours, theirs in _SLURM.items()})
    if torch.cuda.is_available():  # a task may be given only its own GPU
        os.environ["LOCAL_RANK"] = str(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", "localhost")
    os.environ.setdefault("MASTER_ADDR", first_host(nodes))
    os.environ.setdefault("MASTER_PORT", str(15_000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20_000))


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: ``gpu[003-007,12],login`` -> ``gpu003``."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).split(",")[0]
