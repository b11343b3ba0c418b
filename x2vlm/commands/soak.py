"""``soak``: kill a toy training again and again, resume it, and compare it with an undisturbed one, bit for bit."""

import argparse
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

COMPARED = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "x2vlm_loop")
_STEPS = 6  # the most iterations between two kills
_EMA = {"type": "EMAHook", "ema_type": "ExponentialMovingAverage", "momentum": 0.1}


def main(argv: Sequence[str] | None = None) -> int:
    """Soak; returns the exit status: 0 if the final weights are identical."""
    args = _parse(argv)
    with TemporaryDirectory(prefix="soak-") as folder:
        return soak(args, Path(args.work_dir or folder))


def soak(args: argparse.Namespace, folder: Path) -> int:
    """Train twice into a folder, disturbed and undisturbed, and print how they compare."""
    from x2vlm.engine.checkpoint.train_state import checkpoints_in
    from x2vlm.weights.weight_files import read_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    if checkpoints_in(folder / "disturbed") or checkpoints_in(folder / "whole"):
        sys.stderr.write(f"{folder} has been used already. Name another folder, or none.\n")
        return 2
    iterations = (args.kills + 1) * _STEPS
    config = _write_config(args.config, folder, iterations)
    deadline = time.monotonic() + 60 * args.minutes
    killed = _disturbed(args, config, folder / "disturbed", deadline)
    if (
        _train(config, folder / "disturbed", args.processes).wait()
        or _train(config, folder / "whole", args.processes).wait()
    ):
        sys.stdout.write(f"a run failed; its log is in {folder}\n")
        return 1
    name = f"iter_{iterations}.pth"
    ours, theirs = (read_checkpoint(folder / run / name) for run in ("disturbed", "whole"))
    differ = list(differences({k: ours.get(k) for k in COMPARED}, {k: theirs.get(k) for k in COMPARED}))
    sys.stdout.write(f"{killed} kills in {iterations} iterations, {args.processes} process(es)\n")
    sys.stdout.write("identical\n" if not differ else f"{len(differ)} values differ, first: {', '.join(differ[:5])}\n")
    return int(bool(differ))


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """The places at which two nested values are not the same to the bit."""
    from torch import Tensor, equal, uint8

    if isinstance(ours, Tensor) and isinstance(theirs, Tensor):
        alike = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        if not alike or not equal(*(one.contiguous().flatten().view(uint8) for one in (ours, theirs))):  # NaN is NaN
            yield path
    elif isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in {**ours, **theirs}:
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)) and len(ours) == len(theirs):
        for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(one, other, f"{path}.{number}")
    elif repr(ours) != repr(theirs):
        yield path


def _disturbed(args: argparse.Namespace, config: Path, work_dir: Path, deadline: float) -> int:
    """Start, kill, start, ...; every other kill falls into a save. How many there were."""
    moments, killed = random.Random(args.seed), 0
    for number in range(args.kills):
        if time.monotonic() > deadline:
            break
        begun = _reached(work_dir)
        running = _train(config, work_dir, args.processes)
        goal = begun + moments.randint(1, _STEPS - 1)
        while running.poll() is None and _reached(work_dir) < goal:
            time.sleep(0.005)
        if number % 2:
            while running.poll() is None and not list(work_dir.glob("*.part")):
                time.sleep(0.0002)
        else:
            time.sleep(moments.random() * 0.3)
        if running.poll() is None:
            killed += 1
            where = "in a save" if list(work_dir.glob("*.part")) else "between saves"
            _kill(running.pid)
            running.wait()
            sys.stdout.write(f"kill {killed}: after iteration {_reached(work_dir)}, {where}\n")
            sys.stdout.flush()
        elif running.returncode:
            sys.stdout.write(f"a run ended by itself with status {running.returncode}\n")
            break
    return killed


def _write_config(source: str, folder: Path, iterations: int) -> Path:
    """The config as a file: short, a checkpoint at every iteration, no evaluation, an average of the weights."""
    from x2vlm.config import load_config

    cfg = load_config(source)
    cfg.train_cfg.max_iters, cfg.train_cfg.val_interval = iterations, None
    cfg.default_hooks.checkpoint.interval, cfg.default_hooks.checkpoint.max_keep_ckpts = 1, 2
    cfg.pop("evaluations", None)
    cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), _EMA]
    for stream in cfg.streams.values():
        stream.batch_size = min(stream.batch_size, 4)
        stream.num_workers = 1
        if stream.get("max_images"):
            stream.max_images = min(stream.max_images, 2)
    path = folder / "soak_config.py"
    cfg.dump(path)
    return path


def _train(config: Path, work_dir: Path, processes: int) -> subprocess.Popen:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
    command += ["-m", "x2vlm.cli", "train", str(config), "--work-dir", str(work_dir), "--resume"]
    work_dir.mkdir(parents=True, exist_ok=True)
    with (work_dir / "output.txt").open("a") as output:
        return subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)


def _reached(work_dir: Path) -> int:
    from x2vlm.engine.checkpoint.train_state import checkpoints_in, iterations_of

    there = checkpoints_in(work_dir)
    return iterations_of(there[-1]) if there else 0


def _kill(pid: int) -> None:
    """Kill -9 a process that we started and all that it started, which torchrun puts into sessions of their own."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
    doomed = [pid]
    for one in doomed:
        doomed += [child for child, parent in parents.items() if parent == one]
    for one in doomed:
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often to kill the run (default: 20)")
    parser.add_argument("--processes", type=int, default=1, help="processes that train together (default: 1)")
    parser.add_argument("--minutes", type=float, default=30, help="no further kills after so long (default: 30)")
    parser.add_argument("--config", default="configs/demo/toy_five_streams.py", help="what to train")
    parser.add_argument("--work-dir", help="keep both runs here (default: a temporary folder, removed at the end)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    return parser.parse_args(argv)
