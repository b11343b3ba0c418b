"""Annotation files that are either JSON lines or the indexes of tar shards, whichever is there."""

import json
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.datasets.file_formats.tar_shards import TarShards
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_files
from x2vlm.data.record import Record
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class LinesOrShards(Adapter):
    """A set of a pre-training list: lines as :class:`JsonLines` reads them, or shards as :class:`TarShards` does.

    The first line of every file says what it is; a line of an index has a ``shard``.

    Args:
        ann_file: A file, a pattern, or several of either: all lines, or all indexes.
        image_root: The folder that paths of lines start from; tar files lie beside their indexes.
        kind: ``"object"`` or ``"region"``: the kind of elements of lines that have none; shards have it.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If some are indexes and others are not.
    """

    paths = ("ann_file", "image_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike | None = None,
        kind: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        by_kind: dict[bool, list[Path]] = {True: [], False: []}
        for file in existing_files(ann_file, "ann_file"):
            by_kind[is_shard_index(file)].append(file)
        indexes, lines = by_kind[True], by_kind[False]
        if indexes and lines:
            raise ValueError(
                f"ann_file: {indexes[0]} is the index of a tar shard, and {lines[0]} is none. "
                "Give each a pattern of its own."
            )
        self.data: Adapter = (
            TarShards(indexes, subset=subset, limits=limits)
            if indexes
            else JsonLines(lines, image_root, kind=kind, subset=subset, limits=limits)
        )

    def __len__(self) -> int:
        return len(self.data)

    def record(self, index: int) -> Record:
        """The record of a line.

        Raises:
            RecordError: If it cannot be used.
        """
        return self.data.record(index)


def is_shard_index(file: Path) -> bool:
    """Whether the first whole line of a file of JSON lines is one of an index of tar shards."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            try:
                first = json.loads(line)
            except ValueError:
                continue  # a broken line is for the adapter to report
            return isinstance(first, dict) and "shard" in first
    return False
