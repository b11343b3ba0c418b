"""Shards of a whole data set, with a manifest beside them, so that an interrupted run goes on where it stopped."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.data.bad_record_log import format_bad_records
from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.map_records import RecordResult, map_records
from x2vlm.data.io.atomic_files import write_atomically
from x2vlm.data.sharding.shard_record import EncodeRecord
from x2vlm.data.sharding.shard_writer import ShardVerificationError, ShardWriter

RESUME_HINT = "the same command goes on from there."

_LEAST_JUDGED = 100  # records read before the share of bad ones is judged


class ShardingStoppedError(RuntimeError):
    """Writing shards should not go on: too many bad records, or a shard that cannot be verified."""


@dataclass
class ShardManifest:
    """The finished shards of a set and the options they were made with; a JSON file beside them.

    Attributes:
        folder: Of the shards.
        name: Of the set.
        request: Data set and options; a run goes on only with the same ones.
        next: First record of the source that no finished shard covers.
        shards: Finished ones: names, records, bytes, SHA-256.
        bad: Records left out so far; they are listed in ``NAME.bad``, a line of JSON each.
        done: Whether all records are written.
    """

    folder: Path
    name: str
    request: dict[str, Any]
    next: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)
    bad: int = 0
    done: bool = False

    @property
    def file(self) -> Path:
        """The manifest's file."""
        return self.folder / f"{self.name}.json"

    @property
    def bad_file(self) -> Path:
        """The list of records that were left out."""
        return self.folder / f"{self.name}.bad"

    @property
    def records(self) -> int:
        """Records in finished shards."""
        return sum(shard["records"] for shard in self.shards)

    @classmethod
    def open(cls, folder: Path, name: str, request: dict[str, Any], first: int) -> "ShardManifest":
        """The manifest of an interrupted run, or a new one.

        Raises:
            ConfigError: If other shards of that name are there.
        """
        manifest = cls(folder, name, request, next=first)
        if not manifest.file.is_file():
            others = sorted(path.name for path in folder.glob(f"{name}-*") if path.suffix in (".tar", ".jsonl"))
            if others or manifest.bad_file.exists():
                raise ConfigError(
                    f"{folder} holds {others[0] if others else manifest.bad_file.name}, which no {manifest.file.name} "
                    "accounts for. Give another --name or folder; nothing is overwritten."
                )
            manifest.commit(first, None, (), done=False)  # from now on, shards of this name belong to this run
            return manifest
        saved = json.loads(manifest.file.read_text(encoding="utf-8"))
        if saved["asked"] != request:
            changed = [key for key in request if saved["asked"].get(key) != request[key]]
            raise ConfigError(
                f"{manifest.file} is of shards that were made from something else ({', '.join(changed)} differ). "
                "Give another --name or folder; nothing is overwritten."
            )
        manifest.next, manifest.shards = saved["next"], saved["shards"]
        manifest.bad, manifest.done = saved["bad"], saved["done"]
        return manifest

    def commit(self, next_: int, shard: dict[str, Any] | None, bad: Sequence[BadRecord], done: bool) -> None:
        """Write the manifest with a further finished shard and the records that were left out before its end."""
        listed = self.bad_file.read_text(encoding="utf-8").splitlines()[: self.bad] if self.bad else []
        new = [json.dumps({"where": record.where, "reason": record.reason}, ensure_ascii=False) for record in bad]
        if new:
            write_atomically(self.bad_file, "".join(f"{line}\n" for line in [*listed, *new]))
        self.next, self.bad, self.done = next_, self.bad + len(bad), done
        self.shards += [shard] if shard else []
        content = {"asked": self.request, "next": self.next, "bad": self.bad, "done": done, "shards": self.shards}
        write_atomically(self.file, json.dumps(content, indent=2) + "\n")


def write_shards(
    adapter: Adapter,
    manifest: ShardManifest,
    workers: int = 0,
    max_bad: float = 0.05,
    report: Callable[[dict[str, Any]], None] = lambda shard: None,
) -> None:
    """Write all shards that the manifest lacks.

    Args:
        adapter: The data set.
        manifest: Its ``request`` has ``records`` (first, stop), ``shard_records``, ``shard_bytes`` and ``decode``.
        workers: Processes that read; 0 reads in this one.
        max_bad: Largest tolerated share of bad records.
        report: Called with the manifest's entry of every shard that is finished, but for the last one.

    Raises:
        OSError: If the disk is full, or goes away.
        ShardingStoppedError: If more records are bad than ``max_bad`` allows, or a shard reads back differently.
    """
    _, stop = manifest.request["records"]
    results = map_records(adapter, EncodeRecord(manifest.request["decode"]), workers, manifest.next, stop)
    writer = _CurrentShard(manifest)
    try:
        _write_all(results, writer, max_bad, report)
    except ShardVerificationError as error:
        raise ShardingStoppedError(
            f"{error} The disk may be failing; nothing of this shard was put in place."
        ) from error
    finally:
        writer.abandon()


def _write_all(
    results: Iterator[RecordResult],
    current: "_CurrentShard",
    max_bad: float,
    report: Callable[[dict[str, Any]], None],
) -> None:
    manifest = current.manifest
    first, stop = manifest.request["records"]
    bad: list[BadRecord] = []
    for result in results:
        if result.bad:
            bad.append(result.bad)
            _check_bad_share(manifest, bad, result.index + 1 - first, max_bad)
            continue
        current.add(result.value)
        if current.is_full():
            manifest.commit(result.index + 1, current.finish(), bad, done=False)
            report(manifest.shards[-1])
            bad = []
    _check_bad_share(manifest, bad, stop - first, max_bad, least=1)
    manifest.commit(stop, current.finish(), bad, done=True)


class _CurrentShard:
    """The shard that is being written, begun with its first record."""

    def __init__(self, manifest: ShardManifest) -> None:
        self.manifest = manifest
        self._writer: ShardWriter | None = None

    def add(self, record: Any) -> None:
        if self._writer is None:
            name = f"{self.manifest.name}-{len(self.manifest.shards):05d}"
            self._writer = ShardWriter(self.manifest.folder, name)
        self._writer.add(record)

    def is_full(self) -> bool:
        request, writer = self.manifest.request, self._writer
        return len(writer.digests) >= request["shard_records"] or writer.bytes >= request["shard_bytes"]

    def finish(self) -> dict[str, Any] | None:
        """The manifest's entry of the finished shard; None if it has no record."""
        entry = self._writer.finish() if self._writer else None
        self._writer = None
        return entry

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


def _check_bad_share(
    manifest: ShardManifest, bad: Sequence[BadRecord], read: int, max_bad: float, least: int = _LEAST_JUDGED
) -> None:
    count = manifest.bad + len(bad)
    if read >= least and count > max_bad * read:
        raise ShardingStoppedError(
            f"{count:,} of the {read:,} records read cannot be used, more than --max-bad {max_bad} allows. The last of "
            f"them:\n{format_bad_records(bad[-20:])}\nRepair the data, or raise the share: {RESUME_HINT}"
        )
