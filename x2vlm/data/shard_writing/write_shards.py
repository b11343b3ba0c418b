"""Shards of a whole data set; an interrupted run goes on where its manifest says that it stopped."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Any

from x2vlm.data.bad_record_log import format_bad_records
from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.map_records import RecordFunction, RecordResult, map_records
from x2vlm.data.shard_writing.record_list import RecordList
from x2vlm.data.shard_writing.shard_manifest import ShardManifest
from x2vlm.data.shard_writing.shard_record import EncodeRecord, ExcludedRecord
from x2vlm.data.shard_writing.shard_writer import ShardVerificationError, ShardWriter

RESUME_HINT = "the same command goes on from there."

_LEAST_JUDGED = 100  # records read before the share of bad ones is judged
_NAMED = 20  # bad records that the message names where there are too many


class ShardingStoppedError(RuntimeError):
    """Writing shards should not go on: too many bad records, or a shard that cannot be verified."""


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
