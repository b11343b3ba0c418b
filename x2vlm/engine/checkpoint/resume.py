"""Where a run starts: resuming from the newest intact checkpoint or a named one, or a new run (``load_from``)."""

import re
from pathlib import Path
from typing import Any

from mmengine.config import Config

from x2vlm.distributed import all_gather_objects, rank
from x2vlm.engine.checkpoint.work_dir_lock import claim
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.integrity import damage, rename_damaged
from x2vlm.weights.sharded_checkpoint import is_sharded_checkpoint


def choose_start(cfg: Config) -> list[str]:
    """Set ``resume`` and ``load_from`` of a config to the checkpoint that will be loaded; returns warnings for the log.

    Rank 0 decides for all, so that no process reads or renames a file that another is checking.

    Raises:
        CheckpointError: If the checkpoint to resume from does not exist or is damaged, a new run would share the
            work folder of an old one, or another process is training there.
    """
    start: tuple[Any, Any, list[str], str | None] = (None, None, [], None)
    if rank() == 0:
        try:
            start = (*_start(cfg), None)
            claim(cfg.work_dir)
        except CheckpointError as error:
            start = (None, None, [], str(error))
    cfg.resume, cfg.load_from, warnings, problem = all_gather_objects(start)[0]
    if problem is not None:
        raise CheckpointError(problem)
    return warnings


def _start(cfg: Config) -> tuple[bool, str | None, list[str]]:
    """``resume``, ``load_from`` and warnings."""
    present = checkpoints_in(cfg.work_dir)
    warnings: list[str] = []
    if not cfg.resume:
        if present:
            raise CheckpointError(
                f"{cfg.work_dir} holds the checkpoints of an earlier run ({present[-1].name} is the last). "
                "Go on with it: --resume. Or give this run a folder of its own: --work-dir DIR."
            )
        return False, cfg.load_from, warnings
    if cfg.resume is True:
        start, warnings = newest_intact(cfg.work_dir)
        present = checkpoints_in(cfg.work_dir)
    else:
        start = _named_checkpoint(Path(cfg.resume))
    if start is None:
        return False, cfg.load_from, warnings
    _check_work_dir(cfg.work_dir, start, present)
    return True, str(start), warnings


def _check_work_dir(work_dir: str, start: Path, present: list[Path]) -> None:
    """Refuse a start that would mix two runs in a folder, or overwrite later checkpoints."""
    if present and start.resolve().parent != Path(work_dir).resolve():
        raise CheckpointError(
            f"{work_dir} holds the checkpoints of an earlier run, and {start} is not one of them. "
            "Give this run a folder of its own: --work-dir DIR."
        )
    later = [path.name for path in present if iterations_of(path) > iterations_of(start)]
    if later:
        raise CheckpointError(
            f"going on from {start} would overwrite {', '.join(later)} beside it. Move them away, or give this run a "
            "folder of its own: --work-dir DIR."
        )


def _named_checkpoint(start: Path) -> Path:
    """The checkpoint that the user named, if it exists and is intact."""
    if not start.is_file() and not is_sharded_checkpoint(start):
        raise CheckpointError(f"--resume: there is no checkpoint {start} (looked from {Path.cwd()}).")
    problem = damage(start)
    if problem is not None:
        raise CheckpointError(
            f"--resume: {start} is damaged ({problem}). Name another, or none for the newest intact one."
        )
    return start


def checkpoints_in(work_dir: str | Path) -> list[Path]:
    """Checkpoints by iteration in a folder (``iter_*.pth``), ascending; best checkpoints are not included."""
    return sorted((path for path in Path(work_dir).glob("iter_*.pth") if iterations_of(path) >= 0), key=iterations_of)


def iterations_of(checkpoint: Path) -> int:
    """Iterations by file name: ``iter_500.pth`` -> 500; -1 for other names."""
    number = re.fullmatch(r"iter_(\d+)", checkpoint.stem)
    return int(number[1]) if number else -1


def latest_checkpoint(work_dir: str | Path) -> Path | None:
    """The checkpoint of the highest iteration, else the one that the file ``last_checkpoint`` names; None without."""
    candidates = resume_candidates(work_dir)
    return candidates[0] if candidates else None


def resume_candidates(work_dir: str | Path) -> list[Path]:
    """All checkpoints to resume from, the latest first; with an ``out_dir`` of ``CheckpointHook``, those in there."""
    candidates = checkpoints_in(work_dir)
    pointer = Path(work_dir) / "last_checkpoint"
    target = Path(pointer.read_text().strip()) if pointer.is_file() else None
    if not candidates and target is not None and target.name:
        beside = Path(work_dir) / target.name  # a file name of the user's choice; the folder may have been moved
        target = beside if beside.exists() else target
        candidates = checkpoints_in(target.parent) or ([target] if target.exists() else [])
    return candidates[::-1]


def newest_intact(work_dir: str | Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is not damaged, and warnings about newer ones, which are renamed.

    Raises:
        CheckpointError: If there are checkpoints, and all of them are damaged.
    """
    damaged: list[tuple[Path, str]] = []
    for path in resume_candidates(work_dir):
        problem = damage(path)
        if problem is None:
            warnings = [f"{bad} is damaged ({why}). It is now {rename_damaged(bad).name}." for bad, why in damaged]
            return path, [f"{warning} Going on from {path.name}, the one before it." for warning in warnings]
        damaged.append((path, problem))
    if damaged:
        lines = "\n".join(f"  {path}: {problem}" for path, problem in damaged)
        raise CheckpointError(
            f"all checkpoints to go on from are damaged:\n{lines}\nNothing was changed. Get one of them from a copy; "
            "or begin again in another folder: --work-dir DIR."
        )
    return None, []
