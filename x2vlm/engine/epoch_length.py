"""Length of an epoch in iterations, and the global batch, over all processes and accumulated iterations."""

from collections.abc import Mapping
from math import ceil

from x2vlm.building import suggestion
from x2vlm.data.streams import Stream


def iterations_per_epoch(records: int, batch_size: int, processes: int = 1, accumulation: int = 1) -> int:
    """Iterations that read a number of records, rounded up to whole updates.

    Args:
        records: Records of the data set.
        batch_size: Records in a batch of one process.
        processes: Number of processes.
        accumulation: Iterations of one update.
    """
    return ceil(records / (batch_size * processes * accumulation)) * accumulation


def epoch_length(
    streams: Mapping[str, Stream], epoch_of: str | None, records: int | None, processes: int, accumulation: int
) -> int:
    """Iterations of one pass over a stream.

    Args:
        streams: The streams by name.
        epoch_of: The stream; by default the first one.
        records: Number of records of an epoch; by default that of its data set.
        processes: Number of processes.
        accumulation: Iterations of one update.

    Raises:
        ValueError: If there is no such stream.
    """
    name = next(iter(streams)) if epoch_of is None else epoch_of
    if name not in streams:
        raise ValueError(f"epoch_of='{name}' is no stream: {', '.join(streams)}.{suggestion(name, streams)}")
    stream = streams[name]
    records = len(stream.dataset) if records is None else records
    return iterations_per_epoch(records, stream.records_per_batch, processes, accumulation)


def check_global_batch(
    expected: Mapping[str, int], streams: Mapping[str, Stream], processes: int, accumulation: int
) -> None:
    """Refuse to train with another global batch than the config states.

    Args:
        expected: Pairs in an update, over all processes, by stream.
        streams: The streams by name.
        processes: Number of processes.
        accumulation: Iterations of one update.

    Raises:
        ValueError: If a stream has more or fewer.
    """
    for name, pairs in expected.items():
        if name not in streams:
            raise ValueError(f"global_batch: '{name}' is no stream: {', '.join(streams)}.{suggestion(name, streams)}")
        batch_size = streams[name].batch_size
        actual = batch_size * processes * accumulation
        if actual != pairs:
            raise ValueError(
                f"global_batch.{name} is {pairs} pairs an update, but a batch of {batch_size} x {processes} process(es)"
                f" x {accumulation} accumulated iteration(s) makes {actual}. Change one of the three so that it fits: "
                f"streams.{name}.batch_size, the number of processes (torchrun --nproc-per-node), "
                "optim_wrapper.accumulative_counts. Or train with another batch: train_cfg.global_batch=None."
            )
