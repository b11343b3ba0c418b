"""The bad-record log: records that could not be used are counted and listed; too many of them stop the run."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.logging import print_log

from x2vlm.data.batch import BadRecord, Batch
from x2vlm.part_errors import ConfigError

_MAX_LOGGED = 5  # per stream; after these, only when the count has doubled
_MAX_IN_ERROR = 20
_MAX_CHARS = 1000  # of ``where`` or a reason


class TooManyBadRecordsError(RuntimeError):
    """More records than ``max_fraction`` cannot be used; the run stops."""


@dataclass
class StreamCounts:
    """Records read from one stream, and the bad ones among them.

    Attributes:
        drawn: Records read.
        bad: How many of them could not be used.
        reasons: The reason of each distinct one, by ``where``.
        at_start: ``drawn`` and ``bad`` when this run began or resumed.
        new: ``where`` of the distinct ones met since then.
    """

    drawn: int = 0
    bad: int = 0
    reasons: dict[str, str] = field(default_factory=dict)
    at_start: tuple[int, int] = (0, 0)
    new: set[str] = field(default_factory=set)


class BadRecordLog:
    """Counts bad records per stream, writes each once into a file, and raises above a tolerated share.

    Args:
        file: JSON lines are appended here, one for each distinct record: stream, where, reason. Records that
            are in the file already are not written again. None: no file.
        max_fraction: Largest tolerated share of bad records among those read, per stream.
        min_records: The share is checked once a stream has read so many records.
    """

    def __init__(self, file: str | Path | None = None, max_fraction: float = 0.05, min_records: int = 100) -> None:
        if not 0 <= max_fraction <= 1:
            raise ConfigError(f"bad_records.max_fraction is a share from 0 to 1, not {max_fraction}.")
        self.file = None if file is None else Path(file)
        self.max_fraction = max_fraction
        self.min_records = min_records
        self.counts: dict[str, StreamCounts] = {}
        if self.file is not None and self.file.is_file():
            content = self.file.read_text(encoding="utf-8", errors="replace")
            whole = content[: content.rfind("\n") + 1]
            if whole != content:  # half a line, of a run that was killed while it wrote
                self.file.write_text(whole, encoding="utf-8")
            for line in map(json.loads, whole.splitlines()):
                self._counts_of(line["stream"]).reasons[line["where"]] = line["reason"]

    def note(self, stream: str, batch: Batch) -> None:
        """Count the records that were read to make ``batch``, and log the bad ones.

        Raises:
            TooManyBadRecordsError: If more than ``max_fraction`` of the stream's records are bad.
        """
        counts = self._counts_of(stream)
        counts.drawn += batch.drawn
        for record in map(printable, batch.bad):
            counts.bad += 1
            counts.new.add(record.where)
            if record.where not in counts.reasons:
                counts.reasons[record.where] = record.reason
                self._write(stream, record)
                self._warn(stream, record, len(counts.reasons))
        if counts.drawn >= self.min_records and counts.bad > self.max_fraction * counts.drawn:
            raise TooManyBadRecordsError(self._too_many(stream, counts))

    def state_dict(self) -> dict[str, dict[str, int]]:
        """The counts, for checkpoints; ``where`` and reasons are in the file."""
        return {stream: {"drawn": counts.drawn, "bad": counts.bad} for stream, counts in self.counts.items()}

    def load_state_dict(self, state: dict[str, dict[str, int]]) -> None:
        """Restore the counts of a :meth:`state_dict`."""
        for stream, counts in state.items():
            of_stream = self._counts_of(stream)
            of_stream.drawn, of_stream.bad = of_stream.at_start = counts["drawn"], counts["bad"]

    def since_start(self) -> dict[str, tuple[int, int, list[str]]]:
        """By stream: records read, how many were bad, and ``where`` these are, since this run began or resumed."""
        return {
            stream: (counts.drawn - counts.at_start[0], counts.bad - counts.at_start[1], sorted(counts.new))
            for stream, counts in self.counts.items()
        }

    def _counts_of(self, stream: str) -> StreamCounts:
        return self.counts.setdefault(stream, StreamCounts())

    def _write(self, stream: str, record: BadRecord) -> None:
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as lines:
                line = {"stream": stream, "where": record.where, "reason": record.reason}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _warn(self, stream: str, record: BadRecord, count: int) -> None:
        if count <= _MAX_LOGGED or count & (count - 1) == 0:
            listed = "" if self.file is None else f"; all are listed in {self.file}"
            text = f"stream '{stream}': bad record {count}: {record.where}: {record.reason}{listed}"
            print_log(text, logger="current", level=logging.WARNING)

    def _too_many(self, stream: str, counts: StreamCounts) -> str:
        records = [BadRecord(where, reason) for where, reason in counts.reasons.items()]
        listed = "" if self.file is None else f" All are listed in {self.file}."
        return (
            f"stream '{stream}': {counts.bad} of the {counts.drawn} records read could not be used, more than "
            f"bad_records.max_fraction={self.max_fraction} allows. Repair the data, or raise the share.{listed}\n"
            + format_bad_records(records)
        )


def printable(record: BadRecord) -> BadRecord:
    """The record on one line, cut to a length, with control characters escaped.

    Names and texts in it come from the data, which may be hostile.
    """
    return BadRecord(_escaped(record.where), _escaped(record.reason))


def _escaped(text: str) -> str:
    text = text if len(text) <= _MAX_CHARS else f"{text[: _MAX_CHARS - 4]} ..."
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def format_bad_records(records: Sequence[BadRecord]) -> str:
    """One line for each record, ``where`` and reason; only the first twenty of a long list."""
    lines = [f"  {record.where}: {record.reason}" for record in map(printable, records[:_MAX_IN_ERROR])]
    if len(records) > _MAX_IN_ERROR:
        lines.append(f"  ... and {len(records) - _MAX_IN_ERROR} more")
    return "\n".join(lines)
