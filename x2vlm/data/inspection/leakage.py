"""Records that a training set shares with a test set, by identity and by near-duplicate images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from x2vlm.constants import LEAKAGE_METHODS
from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.decode_media import DecodeMedia
from x2vlm.data.inspection.map_records import map_records
from x2vlm.data.inspection.perceptual_hash import DISTANCE, VIEWS, WORDS, image_hashes, near_duplicate_pairs
from x2vlm.data.record import Record


@dataclass
class DatasetFingerprint:
    """Identities and image hashes of a data set of ``N`` records.

    Attributes:
        name: What the data set is called.
        ids: ``N`` identities.
        wheres: ``N`` locations, ``file:line``.
        hashes: ``[M, V, W]`` of all images (a video has several).
        owner: ``[M]``, which record each belongs to.
        low_contrast: Records whose images have too little contrast to be compared.
        bad: Records that cannot be read.
    """

    name: str
    ids: list[str]
    wheres: list[str]
    hashes: np.ndarray
    owner: np.ndarray
    low_contrast: int
    bad: list[BadRecord]


def own_identity(record: Record) -> str:
    """What a record is called in its own data set."""
    return str(record.get("own_id", record["id"]))


class FingerprintRecord:
    """Identity, location and image hashes of a record.

    Args:
        images: Decode and hash its images; False leaves that out.
        identity: What it is called; can be pickled.
    """

    def __init__(self, images: bool = True, identity: Callable[[Record], str] = own_identity) -> None:
        self.decode = DecodeMedia() if images else None
        self.identity = identity

    def __call__(self, adapter: Adapter, index: int) -> tuple[str, str, list[np.ndarray | None]]:
        """Identity, location, and for each image its hashes (None for one with too little contrast).

        Raises:
            RecordError: If the record, or an image or video of it, cannot be read.
        """
        record = adapter.record(index)
        if self.decode is not None:
            record = self.decode(record)
        hashes = [image_hashes(frame) for frame in record.get("frames", ())]
        return self.identity(record), record["where"], hashes


def fingerprint_dataset(
    name: str,
    adapter: Adapter,
    images: bool = True,
    workers: int = 0,
    identity: Callable[[Record], str] = own_identity,
) -> DatasetFingerprint:
    """Read a data set and compute the identities and image hashes of its records.

    Args:
        name: What the data set is called.
        adapter: The data set.
        images: Hash images too.
        workers: Processes that read; 0 reads in this one.
        identity: What a record is called; can be pickled.
    """
    ids, wheres, hashes, owner, bad, low_contrast = [], [], [], [], [], 0
    for result in map_records(adapter, FingerprintRecord(images, identity), workers):
        if result.bad:
            bad.append(result.bad)
            continue
        identity, where, hashes_of_record = result.value
        usable = [each for each in hashes_of_record if each is not None]
        low_contrast += bool(hashes_of_record) and not usable
        hashes += usable
        owner += [len(ids)] * len(usable)
        ids.append(identity)
        wheres.append(where)
    stacked = np.stack(hashes) if hashes else np.zeros((0, len(VIEWS), WORDS), dtype=np.uint64)
    return DatasetFingerprint(name, ids, wheres, stacked, np.array(owner, dtype=np.int64), low_contrast, bad)


def shared_records(
    train: DatasetFingerprint, test: DatasetFingerprint, by: Sequence[str] = LEAKAGE_METHODS, distance: int = DISTANCE
) -> list[dict[str, Any]]:
    """Pairs of records that two data sets share, as dicts; those with one identity first.

    Args:
        train: The training set.
        test: The test set.
        by: ``ids``, ``images`` or both. Identities compare only where both sets are named by one authority.
        distance: Bits in which the hashes of two images may differ.
    """
    pairs: dict[tuple[int, int], dict[str, Any]] = {}
    if "ids" in by:
        index_of = {identity: j for j, identity in reversed(list(enumerate(test.ids)))}
        for i, identity in enumerate(train.ids):
            if identity in index_of:
                pairs[i, index_of[identity]] = {"by": "ids"}
    if "pictures" in by:
        for a, b, bits, mirrored in near_duplicate_pairs(train.hashes, test.hashes, distance):
            key = int(train.owner[a]), int(test.owner[b])
            pair = pairs.setdefault(key, {"by": "pictures"})
            if bits < pair.get("distance", bits + 1):
                pair |= {"distance": bits, "mirrored": mirrored}
    in_order = sorted(pairs.items(), key=lambda item: item[1]["by"])
    return [_named_pair(train, test, i, j, match) for (i, j), match in in_order]


def _named_pair(
    train: DatasetFingerprint, test: DatasetFingerprint, i: int, j: int, match: dict[str, Any]
) -> dict[str, Any]:
    return {
        **match,
        "train": train.name,
        "train_id": train.ids[i],
        "train_where": train.wheres[i],
        "test": test.name,
        "test_id": test.ids[j],
        "test_where": test.wheres[j],
    }
