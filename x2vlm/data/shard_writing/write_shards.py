"""Shards of a whole data set, with a manifest beside them, so that an interrupted run goes on where it stopped."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.data.bad_record_log import format_bad_records
from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.map_records import RecordFunction, RecordResult, map_records
from x2vlm.data.io.atomic_files import write_atomically
from x2vlm.data.shard_writing.record_list import RecordList
from x2vlm.data.shard_writing.shard_record import EncodeRecord, ExcludedRecord
from x2vlm.data.shard_writing.shard_writer import ShardVerificationError, ShardWriter

RESUME_HINT = "the same command goes on from there."

_LEAST_JUDGED = 100  # records read before the share of bad ones is judged
_NAMED = 20  # bad records that the message names where there are too many


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
            ConfigError: If other shards of that name are there.
        """
        manifest = cls(folder, name, request, next=first)
        if not manifest.file.is_file():
            kept = (manifest.bad_file, manifest.excluded_file)
            others = sorted(path.name for path in folder.glob(f"{name}-*") if path.suffix in (".tar", ".jsonl"))
            others += [path.name for path in kept if path.exists()]
            if others:
                raise ConfigError(
                    f"{folder} holds {others[0]}, which no {manifest.file.name} accounts for. Give another --name or "
                    "folder; nothing is overwritten."
                )
            manifest.commit(first, None, done=False)  # from now on, shards of this name belong to this run
            return manifest
        saved = json.loads(manifest.file.read_text(encoding="utf-8"))
        if saved["asked"] != request:
            changed = [key for key in request if saved["asked"].get(key) != request[key]]
            raise ConfigError(
                f"{manifest.file} is of shards that were made from something else ({', '.join(changed)} differ). "
                "Give another --name or folder; nothing is overwritten."
            )
        manifest.next, manifest.shards = saved["next"], saved["shards"]
        manifest.bad, manifest.excluded = saved["bad"], saved.get("excluded", 0)
        manifest.done = saved["done"]
        return manifest

    def commit(self, next_: int, shard: dict[str, Any] | None, done: bool) -> None:
        """Write the manifest with a further finished shard."""
        self.next, self.done = next_, done
        self.shards += [shard] if shard else []
        counts = {"next": self.next, "bad": self.bad, "excluded": self.excluded, "done": done}
        write_atomically(
            self.file, json.dumps({"asked": self.request, **counts, "shards": self.shards}, indent=2) + "\n"
        )


def write_shards(
    adapter: Adapter,
    manifest: ShardManifest,
    workers: int = 0,
    max_bad: float = 0.05,
    report: Callable[[dict[str, Any]], None] = lambda shard: None,
    encode: RecordFunction | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> None:
    """Write all shards that the manifest lacks.

    Args:
        adapter: The data set.
        manifest: Its ``request`` has ``records`` (first, stop), ``shard_records`` and ``shard_bytes``.
        workers: Processes that read; 0 reads in this one.
        max_bad: Largest tolerated share of bad records.
        report: Called with the manifest's entry of every shard that is finished, but for the last one.
        encode: From a record to a :class:`~x2vlm.data.shard_writing.shard_record.ShardRecord`, or an
            :class:`~x2vlm.data.shard_writing.shard_record.ExcludedRecord` for one that is left out on purpose. None
            encodes every record as it is, and decodes its media if the ``request`` has ``decode``.
        advance: Called with 1 for every record that is read.

    Raises:
        OSError: If the disk is full, or goes away.
        ShardingStoppedError: If more records are bad than ``max_bad`` allows, or a shard reads back differently.
    """
    _, stop = manifest.request["records"]
    encode = EncodeRecord(manifest.request["decode"]) if encode is None else encode
    results = map_records(adapter, encode, workers, manifest.next, stop)
    writer = _CurrentShard(manifest)
    bad, excluded = RecordList(manifest.bad_file, manifest.bad), RecordList(manifest.excluded_file, manifest.excluded)
    try:
        with bad, excluded:
            _write_all(results, writer, (bad, excluded), max_bad, report, advance)
    except ShardVerificationError as error:
        raise ShardingStoppedError(
            f"{error} The disk may be failing; nothing of this shard was put in place."
        ) from error
    finally:
        writer.abandon()


def _write_all(
    results: Iterator[RecordResult],
    current: "_CurrentShard",
    lists: tuple[RecordList, RecordList],
    max_bad: float,
    report: Callable[[dict[str, Any]], None],
    advance: Callable[[int], None],
) -> None:
    bad, excluded = lists
    first, stop = current.manifest.request["records"]
    last: deque[BadRecord] = deque(maxlen=_NAMED)
    for result in results:
        advance(1)
        if result.bad:
            bad.add({"where": result.bad.where, "reason": result.bad.reason})
            last.append(result.bad)
            _check_bad_share(bad.count, last, result.index + 1 - first, max_bad)
        elif isinstance(result.value, ExcludedRecord):
            excluded.add(result.value.line)
        else:
            current.add(result.value)
            if current.is_full():
                current.finish(result.index + 1, lists)
                report(current.manifest.shards[-1])
    _check_bad_share(bad.count, last, stop - first, max_bad, least=1)
    current.finish(stop, lists, done=True)


class _CurrentShard:
    """The shard that is being written, begun with its first record."""

    def __init__(self, manifest: ShardManifest) -> None:
        self.manifest = manifest
        self._writer: ShardWriter | None = None
        self._counts: Counter[str] = Counter()

    def add(self, record: Any) -> None:
        if self._writer is None:
            name = f"{self.manifest.name}-{len(self.manifest.shards):05d}"
            self._writer = ShardWriter(self.manifest.folder, name)
        self._writer.add(record)
        self._counts.update(record.counts)

    def is_full(self) -> bool:
        request, writer = self.manifest.request, self._writer
        return len(writer.digests) >= request["shard_records"] or writer.bytes >= request["shard_bytes"]

    def finish(self, next_: int, lists: tuple[RecordList, RecordList], done: bool = False) -> None:
        """Put the shard in place, if it has a record, and enter it and what was left out into the manifest."""
        entry = self._writer.finish() if self._writer else None
        if entry is not None and self._counts:
            entry["counts"] = dict(sorted(self._counts.items()))
        self._writer, self._counts = None, Counter()
        self.manifest.bad, self.manifest.excluded = (one.commit() for one in lists)
        self.manifest.commit(next_, entry, done)

    def abandon(self) -> None:
        if self._writer is not None:
            self._writer.abandon()


def _check_bad_share(count: int, last: deque[BadRecord], read: int, max_bad: float, least: int = _LEAST_JUDGED) -> None:
    if read >= least and count > max_bad * read:
        raise ShardingStoppedError(
            f"{count:,} of the {read:,} records read cannot be used, more than --max-bad {max_bad} allows. The last of "
            f"them:\n{format_bad_records(list(last))}\nRepair the data, or raise the share: {RESUME_HINT}"
        )
