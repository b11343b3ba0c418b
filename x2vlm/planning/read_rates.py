"""Reading rates of a run, by formula: records and megabytes a second, shards, passes over the data set."""

from dataclasses import dataclass
from math import ceil

from x2vlm.planning.model_shapes import BatchShape


@dataclass(frozen=True)
class ReadRate:
    """What a stream reads.

    Attributes:
        records: Records a step, over all processes.
        rate: Records a second.
        megabytes: Megabytes (10^6 bytes) a second, over all processes.
        shards: Tar files of the data set; None where its size is not known.
        passes: Passes of the run over the data set; None likewise.
    """

    records: float
    rate: float
    megabytes: float
    shards: int | None
    passes: float | None


def read_rate(
    batch: BatchShape,
    size: int | None,
    steps: int,
    processes: int,
    step_seconds: float,
    record_bytes: float,
    shard_bytes: float,
) -> ReadRate:
    """What a stream over ``size`` records reads in a run of ``steps`` steps."""
    records = (batch.contexts or batch.pairs) * processes * batch.share
    rate = records / step_seconds
    shards = None if size is None else ceil(size * record_bytes / shard_bytes)
    passes = None if size is None else records * steps / size
    return ReadRate(records, rate, rate * record_bytes / 1e6, shards, passes)


def seconds_per_record(rate: float, processes: int, workers: int) -> float:
    """Time that a data worker has for one record before a step waits for it."""
    return processes * workers / rate
