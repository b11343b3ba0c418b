"""A long work in numbered parts, each a folder or a file that is complete or absent, so that a killed run goes on."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.engine.checkpoint.integrity import SaveError, part_of, sync

NAME = "{:06d}"


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write into, which gets the name ``path`` when all in it is on the disk.

    Raises:
        SaveError: If the disk does not take it.
    """
    aside = part_of(path)
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        yield aside
        for file in aside.iterdir():
            sync(file)
        sync(aside)
        os.replace(aside, path)
        sync(path.parent)
    except OSError as error:
        raise SaveError(
            f"{path} could not be saved: {error.strerror or error}. What is beside it is whole. Mend that, and "
            "start again: it goes on from there."
        ) from error


def done(folder: Path) -> set[int]:
    """The numbers of the parts that are there."""
    return {int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()} if folder.is_dir() else set()


def share_of_missing(folder: Path, count: int) -> list[int]:
    """Which of ``count`` parts this process has to make: those that are not there, dealt out in turns.

    What a killed run left half done is removed first. All processes must call this together.
    """
    missing: list[int] = []
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob(part_of(Path("*")).name):
            shutil.rmtree(half)
        there = done(folder)
        missing = [number for number in range(count) if number not in there]
    return all_gather_objects(missing)[0][rank() :: world_size()]


def agree(path: Path, facts: Mapping[str, Any], what: str) -> None:
    """Write facts into a JSON file, or compare them with those that an earlier run wrote there.

    Args:
        path: The file.
        facts: What a run depends on.
        what: What the folder holds, for the message.

    Raises:
        ConfigError: If they differ; in every process.
    """
    problem = _disagreement(path, json.loads(json.dumps(facts)), what) if rank() == 0 else None
    problem = all_gather_objects(problem)[0]
    if problem is not None:
        raise ConfigError(problem)


def _disagreement(path: Path, facts: dict[str, Any], what: str) -> str | None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        part_of(path).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
        sync(part_of(path))
        os.replace(part_of(path), path)
        return None
    there = json.loads(path.read_text(encoding="utf-8"))
    differ = [name for name in {**there, **facts} if there.get(name) != facts.get(name)]
    if not differ:
        return None
    told = "; ".join(f"{name} was {_short(there.get(name))}, is {_short(facts.get(name))}" for name in differ)
    return f"{path.parent} holds {what} made otherwise: {told}. Name another folder, or remove this one."


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_strings(path: Path) -> Sequence[str]:
    """A JSON list of strings."""
    return json.loads(path.read_text(encoding="utf-8"))
