"""Joining the other processes of a run, and saying which of them does not answer any more."""

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from x2vlm.building import ConfigError
from x2vlm.distributed import is_distributed, rank, world_size

LAUNCHERS = ("none", "pytorch", "slurm")
_SLURM = {"RANK": "SLURM_PROCID", "WORLD_SIZE": "SLURM_NTASKS", "LOCAL_RANK": "SLURM_LOCALID"}
_SIGNS = re.compile(r"Timed out|timed out|timeout|Connection closed by peer|Connection reset by peer|Broken pipe")
_GRACE = 2.0  # seconds in which processes that wait as well say so


class StalledError(RuntimeError):
    """Another process that does not answer, or has ended."""


def init_processes(launcher: str, dist_cfg: Mapping[str, Any] | None = None) -> None:
    """Join the other processes, if there are others: over NCCL on GPUs, over gloo on CPU. MMEngine alone needs GPUs.

    With GPUs both are there: numbers that Python needs, such as how many pairs another process has, go over gloo, so
    that no GPU is waited for.

    Args:
        launcher: ``none``; ``pytorch`` for processes that torchrun started; ``slurm`` for those of srun.
        dist_cfg: ``backend``, and ``timeout``: seconds that a process waits for the others, before it ends.

    Raises:
        ConfigError: If the launcher is unknown or did not start this process, or the others do not come.
    """
    if launcher not in LAUNCHERS:
        raise ConfigError(f"'{launcher}' is not known. Accepted: {', '.join(LAUNCHERS)}.", "launcher")
    given = dict(dist_cfg or {})
    backend = given.pop("backend", default_backend(torch.cuda.is_available()))
    timeout = given.pop("timeout", None)
    if given or (timeout is not None and not (isinstance(timeout, (int, float)) and timeout > 0)):
        raise ConfigError(f"takes backend and timeout (seconds, above 0); given: {dict(dist_cfg)}.", "env_cfg.dist_cfg")
    if launcher == "none" or dist.is_initialized():
        return
    if launcher == "slurm":
        _take_from_slurm()
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
    """What torch is told of how processes talk, with GPUs or without."""
    return "cpu:gloo,cuda:nccl" if gpus else "gloo"


def _take_from_slurm() -> None:
    """Set what torch reads from what srun has set; ``MASTER_ADDR`` and ``MASTER_PORT`` may be given."""
    lacking = [theirs for theirs in _SLURM.values() if theirs not in os.environ]
    if lacking:
        raise ConfigError(
            f"launcher 'slurm' is for processes that srun started, but {', '.join(lacking)} is not set; "
            "see tools/slurm_train.sh.",
            "launcher",
        )
    os.environ.update({ours: os.environ[theirs] for ours, theirs in _SLURM.items()})
    if torch.cuda.is_available():  # a task may see one GPU only, its own
        os.environ["LOCAL_RANK"] = str(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    nodes = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_JOB_NODELIST", "localhost")
    os.environ.setdefault("MASTER_ADDR", first_host(nodes))
    os.environ.setdefault("MASTER_PORT", str(15_000 + int(os.environ.get("SLURM_JOB_ID", 0)) % 20_000))


def first_host(nodes: str) -> str:
    """The first name of a list as Slurm writes it: ``gpu[003-007,12],login`` -> ``gpu003``."""
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", nodes).split(",")[0]


class Whereabouts:
    """What every process is at, for the others to read when one does not answer.

    They are kept where the processes met, so that they can be read when collectives fail.
    """

    def __init__(self) -> None:
        self._store: Any = None
        self._place, self._since = "", time.monotonic()
        if is_distributed() and {"MASTER_ADDR", "MASTER_PORT"} <= set(os.environ):
            self._store = dist.TCPStore(
                os.environ["MASTER_ADDR"],
                int(os.environ["MASTER_PORT"]),
                is_master=False,
                timeout=timedelta(seconds=10),
                wait_for_workers=False,
            )

    def mark(self, place: str) -> None:
        """Note what this process begins, such as ``iteration 12``."""
        self._place, self._since = place, time.monotonic()
        if self._store is not None:
            self._store.set(self._key(rank()), place)

    def sentence(self, error: Exception) -> str | None:
        """Who was waited for, if an error says that somebody was; else None."""
        if not is_distributed() or not _SIGNS.search(str(error)):
            return None
        waited = time.monotonic() - self._since
        return f"{self._place}: waited {waited:.0f} s for {self._absent()} ({_reason(error)})."

    def _absent(self) -> str:
        """The processes that do not wait as well."""
        try:
            places = self._places()
        except RuntimeError:  # they are kept by a process, which may be the very one
            places = {}
        absent = [f"process {number} (last heard of at {at})" for number, at in places.items() if at != "waiting"]
        return ", ".join(absent) or "another process"

    def _places(self) -> dict[int, str]:
        if self._store is None:
            return {}
        self._store.set(self._key(rank()), "waiting")
        time.sleep(_GRACE)
        others = [number for number in range(world_size()) if number != rank()]
        there = [number for number in others if self._store.check([self._key(number)])]
        return {number: self._store.get(self._key(number)).decode() for number in there}

    @staticmethod
    def _key(number: int) -> str:
        return f"x2vlm/at/{number}"


@contextmanager
def naming_the_stalled(whereabouts: Whereabouts, save: Callable[[], str]) -> Iterator[None]:
    """Around what waits for other processes: an error of that kind becomes a sentence that says who, and what is saved.

    Args:
        whereabouts: Of the processes.
        save: Saves what can be saved, and says what there is.

    Raises:
        StalledError: If another process does not answer, or has ended.
    """
    try:
        yield
    except RuntimeError as error:
        sentence = whereabouts.sentence(error)
        if sentence is None:
            raise
        raise StalledError(f"{sentence}\n{save()}") from error


def _reason(error: Exception) -> str:
    """What torch said, without the place in its source."""
    return re.sub(r"^\[[^\]]*\]\s*", "", str(error).splitlines()[0]).rstrip(".")
