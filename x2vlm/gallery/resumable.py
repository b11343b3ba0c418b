"""A long task in numbered shards on disk, each complete or absent, so that a killed run resumes where it ended."""

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.data.io.atomic_files import sync, write_atomically
from x2vlm.distributed import all_gather_objects, rank, world_size
from x2vlm.engine.checkpoint.atomic_save import SaveError, part_of

SHARD_NAME = "{:06d}"


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to write into, renamed to ``path`` once all of its files are on the disk.

    Raises:
        SaveError: If a file cannot be written.
    """
    temporary = part_of(path)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        for file in temporary.iterdir():
            sync(file)
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise SaveError(
            f"{path} could not be saved: {error.strerror or error}. The finished shards beside it are complete. Mend "
            "that, and start again: the run resumes there."
        ) from error


def finished_shards(folder: Path) -> set[int]:
    """The numbers of the shards that are complete."""
    return {int(path.name) for path in folder.glob("[0-9]*") if path.name.isdigit()} if folder.is_dir() else set()


def assign_missing_shards(folder: Path, count: int) -> list[int]:
    """The shards out of ``count`` that this process has to write: the missing ones, distributed round-robin.

    Incomplete shards of a killed run are removed first. All processes must call this together.
    """
    missing: list[int] = []
    if rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        for incomplete in folder.glob(part_of(Path("*")).name):
            shutil.rmtree(incomplete)
        finished = finished_shards(folder)
        missing = [number for number in range(count) if number not in finished]
    return all_gather_objects(missing)[0][rank() :: world_size()]


def write_or_compare_facts(path: Path, facts: Mapping[str, Any], content: str) -> None:
    """Write what a run depends on to a JSON file, or compare it with what an earlier run wrote there.

    Args:
        path: The file.
        facts: What the run depends on: names and JSON values.
        content: What the folder holds, for the message.

    Raises:
        ConfigError: If they differ; in every process.
    """
    problem = _write_or_compare(path, json.loads(json.dumps(facts)), content) if rank() == 0 else None
    problem = all_gather_objects(problem)[0]
    if problem is not None:
        raise ConfigError(problem)


def _write_or_compare(path: Path, facts: dict[str, Any], content: str) -> str | None:
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(facts, indent=2) + "\n")
        return None
    stored = json.loads(path.read_text(encoding="utf-8"))
    differ = [name for name in {**stored, **facts} if stored.get(name) != facts.get(name)]
    if not differ:
        return None
    changes = "; ".join(f"{name} was {_short(stored.get(name))}, is {_short(facts.get(name))}" for name in differ)
    return f"{path.parent} holds {content} made otherwise: {changes}. Name another folder, or remove this one."


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def read_strings(path: Path) -> Sequence[str]:
    """Read a JSON list of strings."""
    return json.loads(path.read_text(encoding="utf-8"))
