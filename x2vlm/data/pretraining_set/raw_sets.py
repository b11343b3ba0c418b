"""Raw sets of a pre-training list and the test sets it must not show: what a config says of them, and the packing."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from glob import glob
from os import PathLike
from pathlib import Path, PurePosixPath
from typing import Any

from x2vlm.building import ConfigError, build, resolve, suggestion
from x2vlm.data.data_root import NESTED, with_data_root
from x2vlm.data.inspection.held_out import HeldOutImages
from x2vlm.data.inspection.image_identity import BY_ADDRESS, BY_FILE, LISTS
from x2vlm.data.pretraining_set.pack_record import PackPretrainingRecord
from x2vlm.data.shard_writing.shard_manifest import ShardManifest, read_manifest
from x2vlm.data.shard_writing.write_shards import write_shards
from x2vlm.registry import DATASETS

HELD_OUT = "held_out"
"""The folder of what is kept of the test sets."""

COUNTS = ("images", "captions", "objects", "regions")
"""What a table of published sets counts."""


@dataclass(frozen=True)
class RawSet:
    """One set of a pre-training list.

    Args:
        dataset: The adapter of the raw files, as ``dict(type=...)``. Its pipeline, if it has one, gives records.
        out: The folder of the shards, below the folder of the list: ``"images/coco"``.
        named_by: Who names its images, see :func:`~x2vlm.data.inspection.image_identity.image_identity`; None compares
            it by perceptual hash alone.
        published: Its published numbers by a name of :data:`COUNTS`.
    """

    dataset: dict[str, Any]
    out: str
    named_by: str | None = None
    published: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.published if name not in COUNTS]
        if unknown:
            raise ValueError(f"published has no {unknown[0]!r}; expected some of {', '.join(COUNTS)}")


def check_folders(raw_sets: Mapping[str, RawSet]) -> None:
    """Refuse folders that several sets share, or that lie elsewhere than below that of the list.

    Raises:
        ConfigError: If there is one.
    """
    owners: dict[PurePosixPath, str] = {}
    for name, raw_set in raw_sets.items():
        folder = PurePosixPath(raw_set.out)
        if folder.is_absolute() or ".." in folder.parts or not folder.parts or folder.parts[0] == HELD_OUT:
            raise ConfigError(
                f"'{raw_set.out}' is no folder for a set: it lies below that of the list, and not in '{HELD_OUT}'. "
                f"Write, for example, 'images/{name}'.",
                f"raw_sets.{name}.out",
            )
        if folder in owners:
            raise ConfigError(
                f"'{raw_set.out}' is the folder of raw_sets.{owners[folder]} already. Give each set one of its own.",
                f"raw_sets.{name}.out",
            )
        owners[folder] = name


@dataclass(frozen=True)
class HeldOutSet:
    """A test set whose images a pre-training list must not show.

    Args:
        dataset: Its adapter, as ``dict(type=...)``.
        named_by: Who names its images; None compares it by perceptual hash alone.
    """

    dataset: dict[str, Any]
    named_by: str | None = None


def format_lone_names(
    raw_sets: Mapping[str, RawSet], held_out_sets: Mapping[str, HeldOutSet], by: Sequence[str]
) -> list[str]:
    """A line for each set whose ``named_by`` no set of the other kind has, so that its names match nothing.

    Args:
        raw_sets: The sets of the list.
        held_out_sets: The test sets.
        by: What of images is compared: ``ids``, ``pictures`` or both.
    """
    left = "compared by how they look alone" if "pictures" in by else "not compared at all (--by ids)"
    words = (*BY_FILE, BY_ADDRESS, *LISTS)  # these may meet by way of the lists of names
    kinds = {"raw_sets": raw_sets, "held_out_sets": held_out_sets}
    lines = []
    for (kind, sets), other in zip(kinds.items(), reversed(kinds), strict=True):
        met = {None, *words, *(one.named_by for one in kinds[other].values())}
        lines += [
            f"{kind}.{name}: no set in {other} has named_by='{one.named_by}', so its images are "
            f"{left}.{suggestion(one.named_by, words)}"
            for name, one in sets.items()
            if one.named_by not in met
        ]
    return lines


@dataclass(frozen=True)
class PackingOptions:
    """How sets are packed.

    Attributes:
        by: What of images is compared with the test sets: ``ids``, ``pictures`` or both.
        distance: Bits in which the hashes of two images may differ.
        shard_records: Records of a shard.
        shard_bytes: Bytes of a shard.
        max_bad: Largest tolerated share of bad records of a set.
        workers: Processes that read; 0 reads in this one.
    """

    by: tuple[str, ...]
    distance: int
    shard_records: int
    shard_bytes: int
    max_bad: float
    workers: int


def missing_files(dataset: Mapping[str, Any], data_root: str | None) -> list[str]:
    """Files and folders of a data set that are not there, without reading any.

    Args:
        dataset: The config of an adapter.
        data_root: The folder that relative paths start from.
    """
    paths = dict.fromkeys(_paths_of(with_data_root(dataset, data_root)))
    return [path for path in paths if not is_there(path)]


def _paths_of(dataset: Mapping[str, Any]) -> Iterator[str]:
    target = resolve(DATASETS, dataset["type"])
    for key, value in dataset.items():
        if key in NESTED and isinstance(value, list | tuple) and NESTED[key] is DATASETS:
            for inner in value:
                yield from _paths_of(inner)
        elif key in getattr(target, "paths", ()) and value is not None:
            yield from _flat(value)


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, str | PathLike):
        yield str(value)
    else:
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _flat(inner)


def is_there(path: str) -> bool:
    """Whether a file or folder is there, or something that fits a pattern."""
    return Path(path).expanduser().exists() or bool(glob(str(Path(path).expanduser()), recursive=True))


def set_request(
    raw_set: RawSet, data_root: str | None, held_out: HeldOutImages, options: PackingOptions
) -> dict[str, Any]:
    """What a set is made from, as it is compared when an interrupted run goes on; all but its number of records."""
    return {
        "dataset": json.loads(json.dumps(with_data_root(raw_set.dataset, data_root), default=str)),
        "named_by": raw_set.named_by,
        "by": list(options.by),
        "held_out": held_out.digest(),
        "shard_records": options.shard_records,
        "shard_bytes": options.shard_bytes,
    }


def open_manifest(folder: Path, name: str) -> ShardManifest | None:
    """The manifest of a set as it stands, whatever it was made from; None if the set was not begun.

    Raises:
        ConfigError: If it is broken, or a finished shard has gone or changed.
    """
    file = folder / f"{name}.json"
    if not file.is_file():
        return None
    return ShardManifest.open(folder, name, read_manifest(file)["asked"], 0)


def pack_set(
    name: str,
    raw_set: RawSet,
    folder: Path,
    data_root: str | None,
    held_out: HeldOutImages,
    options: PackingOptions,
    begin: Callable[[int, int], Callable[[int], None]] = lambda done, total: lambda count: None,
) -> ShardManifest:
    """Pack what a set lacks into shards; a finished set is not opened.

    Args:
        name: Of the set, and of its shards.
        raw_set: The set.
        folder: Of its shards.
        data_root: The folder that relative paths start from.
        held_out: The images of the test sets.
        options: How to pack.
        begin: Called with the records that were read before and all records; gives what is called with the number of
            further ones that are read.

    Raises:
        ConfigError: If the raw files cannot be opened, or shards of something else are there.
        OSError: If the disk is full, or goes away.
        ShardingStoppedError: If too many records are bad.
    """
    request = set_request(raw_set, data_root, held_out, options)
    manifest = open_manifest(folder, name)
    if manifest is not None and manifest.done:
        records = manifest.request.get("records")
        return ShardManifest.open(folder, name, request | {"records": records}, 0)
    adapter = build(DATASETS, with_data_root(raw_set.dataset, data_root), f"raw_sets.{name}.dataset")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = ShardManifest.open(folder, name, request | {"records": [0, len(adapter)]}, 0)
    pack = PackPretrainingRecord(held_out, raw_set.named_by, options.by)
    advance = begin(manifest.next, len(adapter))
    write_shards(adapter, manifest, options.workers, options.max_bad, encode=pack, advance=advance)
    return manifest
