"""How much data a step and an epoch are, counted over all processes and accumulated iterations."""

from collections.abc import Mapping
from math import ceil

from x2vlm.building import suggestion
from x2vlm.data.streams import Stream


def iterations_per_epoch(records: int, batch_size: int, processes: int = 1, accumulation: int = 1) -> int:
    """Iterations in which so many records are read, rounded up to whole updates.

    Args:
        records: Records of the data set.
        batch_size: Records in a batch of one process.
        processes: Number of processes.
        accumulation: Iterations that make an update.
    """
    return ceil(records / (batch_size * processes * accumulation)) * accumulation


def epoch_length(
    streams: Mapping[str, Stream], epoch_of: str | None, records: int | None, processes: int, accumulation: int
) -> int:
    """Iterations of one pass over a stream.

    Args:
        streams: The streams by name.
        epoch_of: Whose pass it is; the first one if none is named.
        records: How many records count as its data set; as many as it has where not given.
        processes: Number of processes.
        accumulation: Iterations that make an update.

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
    wanted: Mapping[str, int], streams: Mapping[str, Stream], processes: int, accumulation: int
) -> None:
    """Refuse to train with another batch than a recipe says.

    Args:
        wanted: Pairs in an update, over all processes, by stream.
        streams: The streams by name.
        processes: Number of processes.
        accumulation: Iterations that make an update.

    Raises:
        ValueError: If a stream has more or fewer.
    """
    for name, pairs in wanted.items():
        if name not in streams:
            raise ValueError(f"global_batch: '{name}' is no stream: {', '.join(streams)}.{suggestion(name, streams)}")
        own = streams[name].batch_size
        given = own * processes * accumulation
        if given != pairs:
            raise ValueError(
                f"global_batch.{name} is {pairs} pairs an update, but a batch of {own} x {processes} process(es) x "
                f"{accumulation} accumulated iteration(s) makes {given}. Change one of the three so that it fits: "
                f"streams.{name}.batch_size, the number of processes (torchrun --nproc-per-node), "
                "optim_wrapper.accumulative_counts. Or train with another batch: train_cfg.global_batch=None."
            )
