"""``soak``: kill a toy training repeatedly, resume it, and compare it bit for bit with an uninterrupted one."""

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

COMPARED_KEYS = ("state_dict", "ema_state_dict", "optimizer", "param_schedulers", "x2vlm_loop")
_STEPS = 6  # the most iterations between two kills
_EMA = {"type": "EMAHook", "ema_type": "ExponentialMovingAverage", "momentum": 0.1}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak test; returns the exit status: 0 if the final checkpoints are identical."""
    args = _parse(argv)
    with TemporaryDirectory(prefix="soak-") as folder:
        return soak(args, Path(args.work_dir or folder))


def soak(args: argparse.Namespace, folder: Path) -> int:
    """Train twice into a folder, with kills and without, and print the result of the comparison."""
    from x2vlm.engine.checkpoint.resume import checkpoints_in
    from x2vlm.weights.read_weights import read_checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    if checkpoints_in(folder / "disturbed") or checkpoints_in(folder / "whole"):
        sys.stderr.write(f"{folder} has been used already. Name another folder, or none.\n")
        return 2
    iterations = (args.kills + 1) * _STEPS
    config = _write_config(args.config, folder, iterations)
    deadline = time.monotonic() + 60 * args.minutes
    kills = _train_with_kills(args, config, folder / "disturbed", deadline)
    if (
        _train(config, folder / "disturbed", args.processes).wait()
        or _train(config, folder / "whole", args.processes).wait()
    ):
        sys.stdout.write(f"a run failed; its log is in {folder}\n")
        return 1
    name = f"iter_{iterations}.pth"
    contents = [read_checkpoint(folder / run / name) for run in ("disturbed", "whole")]
    different = list(differences(*({key: content.get(key) for key in COMPARED_KEYS} for content in contents)))
    sys.stdout.write(f"{kills} kills in {iterations} iterations, {args.processes} process(es)\n")
    first = ", ".join(different[:5])
    sys.stdout.write(f"{len(different)} values differ, first: {first}\n" if different else "identical\n")
    return int(bool(different))


def differences(ours: Any, theirs: Any, path: str = "") -> Iterator[str]:
    """Paths at which two nested values are not bit-identical.

    Args:
        ours: Mappings, lists, tensors and plain values.
        theirs: Likewise.
        path: Path of the two values.
    """
    from torch import Tensor, equal, uint8

    if isinstance(ours, Tensor) and isinstance(theirs, Tensor):
        same_shape = ours.dtype == theirs.dtype and ours.shape == theirs.shape
        # Compared as bytes, so that NaN equals NaN.
        if not same_shape or not equal(*(tensor.contiguous().flatten().view(uint8) for tensor in (ours, theirs))):
            yield path
    elif isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in {**ours, **theirs}:
            yield from differences(ours.get(key), theirs.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(ours, (list, tuple)) and isinstance(theirs, (list, tuple)) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from differences(*pair, f"{path}.{index}")
    elif repr(ours) != repr(theirs):
        yield path


def _train_with_kills(args: argparse.Namespace, config: Path, work_dir: Path, deadline: float) -> int:
    """Start and kill a run in turn, every second time while it saves; returns the number of kills."""
    rng, kills = random.Random(args.seed), 0
    for number in range(args.kills):
        if time.monotonic() > deadline:
            break
        goal = _last_iteration(work_dir) + rng.randint(1, _STEPS - 1)
        process = _train(config, work_dir, args.processes)
        while process.poll() is None and _last_iteration(work_dir) < goal:
            time.sleep(0.005)
        if number % 2:
            while process.poll() is None and not list(work_dir.glob("*.part")):
                time.sleep(0.0002)
        else:
            time.sleep(rng.random() * 0.3)
        if process.poll() is None:
            kills += 1
            where = "in a save" if list(work_dir.glob("*.part")) else "between saves"
            _kill(process.pid)
            process.wait()
            sys.stdout.write(f"kill {kills}: after iteration {_last_iteration(work_dir)}, {where}\n")
            sys.stdout.flush()
        elif process.returncode:
            sys.stdout.write(f"a run ended by itself with status {process.returncode}\n")
            break
    return kills


def _write_config(source: str, folder: Path, iterations: int) -> Path:
    """Write a short version of a config: a checkpoint at every iteration, no evaluation, EMA."""
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


def _last_iteration(work_dir: Path) -> int:
    """Iteration of the last checkpoint; 0 without one."""
    from x2vlm.engine.checkpoint.resume import checkpoints_in, iterations_of

    checkpoints = checkpoints_in(work_dir)
    return iterations_of(checkpoints[-1]) if checkpoints else 0


def _kill(pid: int) -> None:
    """Kill (-9) a process of this command and its descendants, which torchrun puts into sessions of their own."""
    parents = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(status.parent.name)] = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):  # has ended
            continue
    to_kill = [pid]
    for ancestor in to_kill:  # grows while it is read: children, their children, ...
        to_kill += [child for child, parent in parents.items() if parent == ancestor]
    for process in to_kill:
        try:
            os.kill(process, signal.SIGKILL)
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
