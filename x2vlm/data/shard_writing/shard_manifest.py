"""The manifest of a set of shards: which are finished, what they were made from, and where a run goes on."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.data.io.atomic_files import write_atomically


@dataclass
class ShardManifest:
    """The finished shards of a set and the options they were made with; a JSON file beside them.

    Attributes:
        folder: Of the shards.
        name: Of the set.
        request: Data set and options; a run goes on only with the same ones.
        next: First record of the source that no finished shard covers.
        shards: Finished ones: names, records, bytes, SHA-256.
        bad: Records that could not be used so far; they are listed in ``NAME.bad``, a line of JSON each.
        excluded: Records that were left out on purpose so far; they are listed in ``NAME.excluded``.
        done: Whether all records are written.
    """

    folder: Path
    name: str
    request: dict[str, Any]
    next: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)
    bad: int = 0
    excluded: int = 0
    done: bool = False

    @property
    def file(self) -> Path:
        """The manifest's file."""
        return self.folder / f"{self.name}.json"

    @property
    def bad_file(self) -> Path:
        """The list of records that could not be used."""
        return self.folder / f"{self.name}.bad"

    @property
    def excluded_file(self) -> Path:
        """The list of records that were left out on purpose."""
        return self.folder / f"{self.name}.excluded"

    @property
    def records(self) -> int:
        """Records in finished shards."""
        return sum(shard["records"] for shard in self.shards)

    @classmethod
    def open(cls, folder: Path, name: str, request: dict[str, Any], first: int) -> "ShardManifest":
        """The manifest of an interrupted run, or a new one.

        Raises:
            ConfigError: If other shards of that name are there, the manifest is broken, or a finished shard has gone
                or changed.
        """
        manifest = cls(folder, name, request, next=first)
        if not manifest.file.is_file():
            kept = (manifest.bad_file, manifest.excluded_file)
            others = sorted(path.name for path in folder.glob(f"{name}-*") if path.suffix in (".tar", ".jsonl"))
            others += [path.name for path in kept if path.exists()]
            if others:
                raise ConfigError(
                    f"{folder} holds {others[0]}, which no {manifest.file.name} accounts for. Give another name or "
                    "folder; nothing is overwritten."
                )
            manifest.commit(first, None, done=False)  # from now on, shards of this name belong to this run
            return manifest
        saved = read_manifest(manifest.file)
        if saved["asked"] != request:
            changed = [key for key in request if saved["asked"].get(key) != request[key]]
            raise ConfigError(
                f"{manifest.file} is of shards that were made from something else ({', '.join(changed)} differ). "
                "Give the options of that run, or another folder or name; nothing is overwritten."
            )
        manifest.next, manifest.shards = saved["next"], saved["shards"]
        manifest.bad, manifest.excluded = saved["bad"], saved.get("excluded", 0)
        manifest.done = saved["done"]
        manifest._check_shards()
        return manifest

    def _check_shards(self) -> None:
        """Refuse to go on where a finished shard has gone or changed."""
        for shard in self.shards:
            for path, size in ((self.folder / shard["tar"], shard["bytes"]), (self.folder / shard["index"], None)):
                if not path.is_file():
                    state = "is not there any more"
                elif size not in (None, path.stat().st_size):
                    state = f"has {path.stat().st_size:,} bytes, but was written with {size:,}"
                else:
                    continue
                raise ConfigError(
                    f"{path} {state}. Put it back, or delete all of {self.name} in {self.folder}: the same command "
                    "then writes these shards anew."
                )

    def commit(self, next_: int, shard: dict[str, Any] | None, done: bool) -> None:
        """Write the manifest with a further finished shard."""
        self.next, self.done = next_, done
        self.shards += [shard] if shard else []
        counts = {"next": self.next, "bad": self.bad, "excluded": self.excluded, "done": done}
        write_atomically(
            self.file, json.dumps({"asked": self.request, **counts, "shards": self.shards}, indent=2) + "\n"
        )


def read_manifest(file: Path) -> dict[str, Any]:
    """The content of a manifest's file.

    Raises:
        ConfigError: If it is broken.
    """
    try:
        saved = json.loads(file.read_text(encoding="utf-8"))
        lacking = [key for key in ("asked", "next", "bad", "done", "shards") if key not in saved]
        if not lacking:
            lacking = [
                key for shard in saved["shards"] for key in ("tar", "index", "bytes", "records") if key not in shard
            ]
    except (ValueError, TypeError) as error:
        raise ConfigError(_broken(file, str(error))) from error
    if lacking:
        raise ConfigError(_broken(file, f"it has no '{lacking[0]}'"))
    return saved


def _broken(file: Path, why: str) -> str:
    return (
        f"{file} says which shards are finished, but it is broken: {why}. Put it back, or delete all of {file.stem} in "
        f"{file.parent}: the same command then writes these shards anew."
    )
