"""Images of test sets, which training must not show: found by name and by perceptual hash."""

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.building import ConfigError
from x2vlm.data.batch import BadRecord
from x2vlm.data.datasets.base import Adapter
from x2vlm.data.inspection.image_identity import image_identity, with_other_names
from x2vlm.data.inspection.leakage import DatasetFingerprint, fingerprint_dataset
from x2vlm.data.inspection.perceptual_hash import DISTANCE, VIEWS, WORDS, image_hashes, near_duplicate_pairs
from x2vlm.data.io.atomic_files import sync, write_atomically

Match = dict[str, Any]
"""``by`` (``ids`` or ``pictures``), ``test`` and ``test_id``; of hashes ``distance`` in bits and ``mirrored``."""


@dataclass
class HeldOutImages:
    """The images of all test sets.

    Attributes:
        names: Test set and identity there by name of an image; names that mean something in one data set alone are not
            among them.
        hashes: ``[M, V, W]``, see :mod:`~x2vlm.data.inspection.perceptual_hash`.
        owners: ``M`` test sets and identities.
        distance: Bits in which the hashes of two images may differ.
    """

    names: dict[str, tuple[str, str]] = field(default_factory=dict)
    hashes: np.ndarray = field(default_factory=lambda: np.zeros((0, len(VIEWS), WORDS), dtype=np.uint64))
    owners: list[tuple[str, str]] = field(default_factory=list)
    distance: int = DISTANCE

    @classmethod
    def of(
        cls,
        tests: Sequence[tuple[DatasetFingerprint, bool]],
        same_images: Mapping[str, str | PathLike | Sequence[str | PathLike]],
        distance: int = DISTANCE,
    ) -> "HeldOutImages":
        """The images of these test sets.

        Args:
            tests: The fingerprint of each test set, and whether its images have names that mean the same elsewhere.
            same_images: Lists of images with several names, see
                :func:`~x2vlm.data.inspection.image_identity.with_other_names`.
            distance: Bits in which the hashes of two images may differ.
        """
        names: dict[str, tuple[str, str]] = {}
        hashes, owners = [], []
        for test, named in tests:
            names = ({name: (test.name, name) for name in test.ids} if named else {}) | names
            rows, which = np.unique(test.hashes.reshape(-1, len(VIEWS) * WORDS), axis=0, return_index=True)
            hashes.append(rows.reshape(-1, len(VIEWS), WORDS))
            owners += [(test.name, test.ids[owner]) for owner in test.owner[which].tolist()]
        stacked = np.concatenate(hashes) if hashes else cls().hashes
        return cls(with_other_names(names, same_images), stacked, owners, distance)

    def match_name(self, name: str) -> Match | None:
        """The test image of that name."""
        if name not in self.names:
            return None
        test, identity = self.names[name]
        return {"by": "ids", "test": test, "test_id": identity}

    def match_hashes(self, hashes: np.ndarray) -> Match | None:
        """The nearest test image of some images that is near enough.

        Args:
            hashes: ``[n, V, W]``.
        """
        nearest = min(
            (
                (bits, other, mirrored)
                for _, other, bits, mirrored in near_duplicate_pairs(hashes, self.hashes, self.distance)
            ),
            default=None,
        )
        if nearest is None:
            return None
        bits, other, mirrored = nearest
        test, identity = self.owners[other]
        return {"by": "pictures", "test": test, "test_id": identity, "distance": bits, "mirrored": bool(mirrored)}

    def digest(self) -> str:
        """SHA-256 of all that decides what is left out."""
        total = hashlib.sha256(self.hashes.tobytes())
        total.update(json.dumps([sorted(self.names), self.distance]).encode())
        return total.hexdigest()


def hashes_of(frames: Sequence[np.ndarray]) -> np.ndarray:
    """``[n, V, W]``: the hashes of those of some images that have contrast enough to be compared."""
    found = [one for one in map(image_hashes, frames) if one is not None]
    return np.stack(found) if found else HeldOutImages().hashes


def fingerprint_test_set(
    name: str,
    adapter: Adapter,
    named_by: str | None,
    workers: int,
    folder: Path,
    request: Mapping[str, Any],
    max_bad: float = 1.0,
) -> DatasetFingerprint:
    """Names and hashes of a test set's images, computed, and kept in files for :func:`stored_fingerprint`.

    Args:
        name: What the test set is called; also of the files.
        adapter: The test set.
        named_by: See :func:`~x2vlm.data.inspection.image_identity.image_identity`.
        workers: Processes that read.
        folder: Of the files.
        request: What the test set was made from; kept beside them.
        max_bad: Largest tolerated share of records that cannot be read.

    Raises:
        ConfigError: If more of them cannot be read: what they show would be found by name at best. Nothing is kept
            then, so that repaired files are read anew.
    """
    identity = partial(image_identity, named_by=named_by)
    # An image that cannot be read has a name all the same, by which training must not show it.
    named = fingerprint_dataset(name, adapter, False, workers, identity)
    shown = fingerprint_dataset(name, adapter, True, workers, identity)
    index_of = {where: index for index, where in reversed(list(enumerate(named.wheres)))}
    owner = np.array([index_of[shown.wheres[index]] for index in shown.owner], dtype=np.int64)
    fingerprint = replace(shown, ids=named.ids, wheres=named.wheres, owner=owner)
    if _share_of_bad(fingerprint) > max_bad:
        raise ConfigError(
            f"{len(fingerprint.bad):,} of the {len(adapter):,} records cannot be read, more than --max-bad "
            f"{max_bad} allows, so what they show would get into the list. The first: {fingerprint.bad[0].where}: "
            f"{fingerprint.bad[0].reason}. Repair the data, do without this set (--without held_out_sets.{name}), "
            "compare names alone (--by ids), or raise the share.",
            f"held_out_sets.{name}",
        )
    _store(fingerprint, folder, request)
    return fingerprint


def stored_fingerprint(
    name: str, folder: Path, request: Mapping[str, Any], max_bad: float = 1.0
) -> DatasetFingerprint | None:
    """The fingerprint in the files of an earlier run.

    Args:
        name: Of the test set, and of the files.
        folder: Of the files.
        request: What the test set is made from.
        max_bad: Largest tolerated share of records that could not be read.

    Returns:
        None if there is none of this request, it is broken, or too many records could not be read.
    """
    description = folder / f"{name}.json"
    if not description.is_file():
        return None
    try:
        saved = json.loads(description.read_text(encoding="utf-8"))
        if saved["asked"] != request:
            return None
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            hashes, owner = arrays["hashes"], arrays["owner"]
        bad = [BadRecord(*entry) for entry in saved["bad"]]
        found = DatasetFingerprint(name, saved["ids"], saved["wheres"], hashes, owner, saved["low_contrast"], bad)
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        message = f"{description}: what was kept of this test set is broken and made anew ({error})"
        print_log(message, logger="current", level=logging.WARNING)
        return None
    return found if _share_of_bad(found) <= max_bad else None


def _share_of_bad(fingerprint: DatasetFingerprint) -> float:
    bad = {one.where for one in fingerprint.bad}
    return len(bad) / max(len(bad | set(fingerprint.wheres)), 1)


def _store(fingerprint: DatasetFingerprint, folder: Path, request: Mapping[str, Any]) -> None:
    """Write the arrays, and then the description, without which they are not read."""
    folder.mkdir(parents=True, exist_ok=True)
    description, arrays = folder / f"{fingerprint.name}.json", folder / f"{fingerprint.name}.npz"
    description.unlink(missing_ok=True)
    part = arrays.with_name(f".{os.getpid()}.{arrays.name}")  # several runs may share a folder
    with part.open("wb") as handle:
        np.savez(handle, hashes=fingerprint.hashes, owner=fingerprint.owner)
    sync(part)
    os.replace(part, arrays)
    content = {"asked": request, "low_contrast": fingerprint.low_contrast}
    content |= {
        "bad": [[one.where, one.reason] for one in fingerprint.bad],
        "ids": fingerprint.ids,
        "wheres": fingerprint.wheres,
    }
    write_atomically(description, json.dumps(content) + "\n")
