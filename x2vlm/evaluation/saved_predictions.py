"""Predictions of an evaluation as a file: one for all processes, in the order of the data set, complete or absent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, zip_longest
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from x2vlm.data.batch import Batch
from x2vlm.data.io.atomic_files import write_atomically
from x2vlm.distributed import all_gather_objects, rank
from x2vlm.evaluation.record_fields import extras_of_texts

Line = tuple[str, dict[str, Any] | None]
"""Location of a record, and what is written of one of its texts; None where nothing is."""


def output_path(save_to: str | PathLike | None, work_dir: str | PathLike | None) -> Path | None:
    """The file of ``save_to``, relative to the work folder; None for None."""
    return None if save_to is None else Path(work_dir or ".") / Path(save_to).expanduser()


def write_output(path: Path, text: str) -> None:
    """Write a file that is always complete; missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)


def rounded(values: Iterable[float]) -> list[float]:
    """Numbers to six digits, as all predictions are written."""
    return [round(value, 6) for value in values]


def lines_of_texts(
    batch: Batch, fields: Mapping[str, Sequence[Any]], save_extras: Sequence[str] = (), keep: Iterable[bool] = ()
) -> list[Line]:
    """One line for each text of a batch.

    Args:
        batch: The batch.
        fields: By key: ``B`` plain values.
        save_extras: Keys of ``extras`` that are written too; they name the example in a task's own files.
        keep: ``B`` bools, texts that get a line; all by default.

    Raises:
        ValueError: If a record lacks one of these extras.
    """
    where = batch.where or [""] * len(batch)
    columns = {"where": where} | ({"text": batch.texts} if batch.texts else {})
    for key in save_extras:
        columns[key] = extras_of_texts(batch, key)
        if None in columns[key]:
            place = where[columns[key].index(None)] or "a record"
            raise ValueError(
                f"save_extras names extras[{key!r}], but {place} has none. Let the data set pass it on "
                f"(keys=dict(extras=({key!r},))), or leave it out."
            )
    columns |= fields
    lines = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    kept = list(keep) or [True] * len(lines)
    return [(place, line if wanted else None) for place, line, wanted in zip(where, lines, kept, strict=True)]


def in_dataset_order(processes: Sequence[Sequence[Line]]) -> list[dict[str, Any]]:
    """The lines of all processes, which take turns record by record, in the order of the data set.

    A bad record gives no line, so behind one the lines of its process come a turn early; ``where`` says which is which.
    """
    by_record = [[list(lines) for _, lines in groupby(process, key=lambda line: line[0])] for process in processes]
    return [
        line
        for turn in zip_longest(*by_record, fillvalue=())
        for record in turn
        for _, line in record
        if line is not None
    ]


def save_lines(path: Path, local: Sequence[Line]) -> None:
    """Write the lines of all processes as JSON lines; every process has to call it, the first one writes."""
    lines = in_dataset_order(all_gather_objects(list(local)))
    if rank() == 0:
        write_output(path, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines))
        print_log(f"{len(lines)} predictions are in {path}", logger="current")
