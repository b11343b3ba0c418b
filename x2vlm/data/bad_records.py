"""The book of records that could not be used: counted, named, and a reason to stop if there are too many."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mmengine.logging import print_log

from x2vlm.data.batch import BadRecord, Batch

_NAMED_IN_LOG = 5  # per stream; after these, only when the count has doubled
_NAMED_IN_ERROR = 20
_LONGEST = 1000  # characters of a place or a reason


class TooManyBadRecordsError(RuntimeError):
    """So many records cannot be used that the run should not go on."""


@dataclass
class Tally:
    """What one stream has met.

    Attributes:
        drawn: Records read.
        bad: How many of them could not be used.
        named: The distinct ones, by place.
        before: ``drawn`` and ``bad`` of the part of the run before this one.
        here: The places of the distinct ones met in this part.
    """

    drawn: int = 0
    bad: int = 0
    named: dict[str, str] = field(default_factory=dict)
    before: tuple[int, int] = (0, 0)
    here: set[str] = field(default_factory=set)


class BadRecordLog:
    """Count bad records per stream, write each once into a file, stop above a share.

    Args:
        file: JSON lines are appended here, one for each distinct record: stream, where, reason. What an earlier part of
            the run wrote there is known, and not written again. None: no file.
        max_fraction: Largest tolerated share of bad records among those read, per stream.
        min_records: Nothing is judged before a stream has read so many records.
    """

    def __init__(self, file: str | Path | None = None, max_fraction: float = 0.05, min_records: int = 100) -> None:
        if not 0 <= max_fraction <= 1:
            raise ValueError(f"bad_records.max_fraction is a share from 0 to 1, not {max_fraction}.")
        self.file = None if file is None else Path(file)
        self.max_fraction = max_fraction
        self.min_records = min_records
        self.tallies: dict[str, Tally] = {}
        if self.file is not None and self.file.is_file():
            content = self.file.read_text(encoding="utf-8", errors="replace")
            whole = content[: content.rfind("\n") + 1]
            if whole != content:  # half a line, of a run that was killed while it wrote
                self.file.write_text(whole, encoding="utf-8")
            for line in map(json.loads, whole.splitlines()):
                self._tally(line["stream"]).named[line["where"]] = line["reason"]

    def note(self, stream: str, batch: Batch) -> None:
        """Enter what was met while ``batch`` was made.

        Raises:
            TooManyBadRecordsError: If more than ``max_fraction`` of the stream's records are bad.
        """
        tally = self._tally(stream)
        tally.drawn += batch.drawn
        for record in map(one_line, batch.bad):
            tally.bad += 1
            tally.here.add(record.where)
            if record.where not in tally.named:
                tally.named[record.where] = record.reason
                self._write(stream, record)
                self._warn(stream, record, len(tally.named))
        if tally.drawn >= self.min_records and tally.bad > self.max_fraction * tally.drawn:
            raise TooManyBadRecordsError(self._too_many(stream, tally))

    def state_dict(self) -> dict[str, dict[str, int]]:
        """The counts, for checkpoints; the names are in the file."""
        return {stream: {"drawn": tally.drawn, "bad": tally.bad} for stream, tally in self.tallies.items()}

    def load_state_dict(self, state: dict[str, dict[str, int]]) -> None:
        """Go on from a :meth:`state_dict`."""
        for stream, counts in state.items():
            tally = self._tally(stream)
            tally.drawn, tally.bad = tally.before = counts["drawn"], counts["bad"]

    def since_start(self) -> dict[str, tuple[int, int, list[str]]]:
        """By stream: records read, how many were bad, and the places of these, since this part of the run began."""
        return {
            stream: (tally.drawn - tally.before[0], tally.bad - tally.before[1], sorted(tally.here))
            for stream, tally in self.tallies.items()
        }

    def _tally(self, stream: str) -> Tally:
        return self.tallies.setdefault(stream, Tally())

    def _write(self, stream: str, record: BadRecord) -> None:
        if self.file is not None:
            with self.file.open("a", encoding="utf-8") as lines:
                line = {"stream": stream, "where": record.where, "reason": record.reason}
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")

    def _warn(self, stream: str, record: BadRecord, count: int) -> None:
        if count <= _NAMED_IN_LOG or count & (count - 1) == 0:
            listed = "" if self.file is None else f"; all are listed in {self.file}"
            text = f"stream '{stream}': bad record {count}: {record.where}: {record.reason}{listed}"
            print_log(text, logger="current", level=logging.WARNING)

    def _too_many(self, stream: str, tally: Tally) -> str:
        records = [BadRecord(where, reason) for where, reason in tally.named.items()]
        listed = "" if self.file is None else f" All are listed in {self.file}."
        return (
            f"stream '{stream}': {tally.bad} of the {tally.drawn} records read could not be used, more than "
            f"bad_records.max_fraction={self.max_fraction} allows. Repair the data, or raise the share.{listed}\n"
            + named_records(records)
        )


def one_line(record: BadRecord) -> BadRecord:
    """The same, to be shown: on one line, not too long, and without signs that a terminal would obey or a file refuse.

    Names and texts in it come from the data, that is, from anybody.
    """
    return BadRecord(_shown(record.where), _shown(record.reason))


def _shown(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def named_records(records: Sequence[BadRecord]) -> str:
    """One line for each record, place and reason; only the first twenty of a long list."""
    lines = [f"  {record.where}: {record.reason}" for record in map(one_line, records[:_NAMED_IN_ERROR])]
    if len(records) > _NAMED_IN_ERROR:
        lines.append(f"  ... and {len(records) - _NAMED_IN_ERROR} more")
    return "\n".join(lines)
