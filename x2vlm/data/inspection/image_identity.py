"""Who names an image: the same photograph under one name, whichever data set shows it.

COCO numbers its images, Visual Genome numbers its own, some of which are COCO's, and both took them from Flickr, whose
number of a photograph stands in the file names of Flickr30K and in addresses of SBU, CC3M and CC12M. So an image is
called ``coco:391895``, ``vg:2``, ``flickr:1000092795``, or by its address, and the lists of COCO, Visual Genome and
Open Images say which of these names mean the same photograph.
"""

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from x2vlm.building import ConfigError, suggestion
from x2vlm.data.inspection.leakage import own_identity
from x2vlm.data.io.paths import existing_files
from x2vlm.data.io.row_readers.json_entries import JsonEntries
from x2vlm.data.record import Record

BY_FILE = ("coco", "vg", "flickr")
"""Numbers in the names of files: ``COCO_val2014_000000391895.jpg``, ``VG_100K/2.jpg``, ``1000092795.jpg``."""

BY_ADDRESS = "web"
"""The identity of a record is the address of its image."""

_NUMBER = re.compile(r"(?:^|_)(\d+)$")  # of "n161313", which GQA has beside those of Visual Genome, none
_PHOTO = re.compile(r"/(\d+)_[0-9a-z]+(?:_[a-z]+)?\.[a-z]+$", re.IGNORECASE)


def image_identity(record: Record, named_by: str | None = None) -> str:
    """The name of the image, images or video of a record.

    Args:
        record: As adapters make it.
        named_by: ``"coco"``, ``"vg"``, ``"flickr"`` (the number in the name of the file, or the identity where there
            is no file), ``"web"`` (the address; of Flickr's photographs their number), any other word (the identity,
            behind that word), or None: the identity as it is, which means something in its own data set alone.
    """
    own = own_identity(record)
    if named_by in BY_FILE:
        file = record.get("image")
        number = _NUMBER.search(Path(file).stem if isinstance(file, str | PathLike) else own)
        return f"{named_by}:{int(number[1]) if number else own}"
    if named_by == BY_ADDRESS:
        photo = flickr_photo(own)
        return f"flickr:{photo}" if photo else own
    return own if named_by is None else f"{named_by}:{own}"


def flickr_photo(address: Any) -> int | None:
    """The number of a photograph in the address of a file of Flickr's; None for other addresses."""
    if not isinstance(address, str):
        return None
    parts = urlsplit(address if "//" in address else f"//{address}")
    found = _PHOTO.search(parts.path)
    return int(found[1]) if found and "flickr.com" in (parts.netloc or "") else None


def _numbers_in_visual_genome(file: Path) -> Iterator[frozenset[str]]:
    def names_of(entry: Any) -> frozenset[str]:
        entry = entry if isinstance(entry, Mapping) else {}
        keys = {"vg": entry.get("image_id", entry.get("id")), "coco": entry.get("coco_id")}
        return _names(keys | {"flickr": entry.get("flickr_id")})

    yield from JsonEntries(file, "same_images.vg", id_of=names_of).ids


def _numbers_in_coco(file: Path) -> Iterator[frozenset[str]]:
    def names_of(entry: Any) -> frozenset[str]:
        entry = entry if isinstance(entry, Mapping) else {}
        return _names({"coco": entry.get("id"), "flickr": flickr_photo(entry.get("flickr_url"))})

    yield from JsonEntries(file, "same_images.coco", key="images", id_of=names_of).ids


def _numbers_in_open_images(file: Path) -> Iterator[frozenset[str]]:
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as handle:
        rows = csv.DictReader(handle)
        missing = [name for name in ("ImageID", "OriginalURL") if name not in (rows.fieldnames or ())]
        if missing:
            raise ValueError(f"same_images.openimages: {file} has no column {missing[0]}; it has {rows.fieldnames}")
        for row in rows:
            photo = flickr_photo(row["OriginalURL"])
            if photo is not None:
                yield _names({"openimages": row["ImageID"], "flickr": photo})


def _names(numbers: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(f"{name}:{number}" for name, number in numbers.items() if isinstance(number, int | str))


LISTS: dict[str, Callable[[Path], Iterable[frozenset[str]]]] = {
    "vg": _numbers_in_visual_genome,
    "coco": _numbers_in_coco,
    "openimages": _numbers_in_open_images,
}
"""Files that name one photograph several times: ``image_data.json`` of Visual Genome (``coco_id``, ``flickr_id``), any
annotation file of COCO (``flickr_url``), the lists of images of Open Images (``OriginalURL``)."""


def check_lists(same_images: Mapping[str, Any]) -> None:
    """Refuse lists of an unknown kind.

    Raises:
        ConfigError: If a key is not one of :data:`LISTS`.
    """
    for kind in same_images:
        if kind not in LISTS:
            raise ConfigError(
                f"there is no list '{kind}'.{suggestion(kind, LISTS)} Known: {', '.join(LISTS)}.", "same_images"
            )


def with_other_names(
    names: Mapping[str, Any], same_images: Mapping[str, str | PathLike | Sequence[str | PathLike]]
) -> dict[str, Any]:
    """Names of images, and all other names of the same images.

    Args:
        names: What is known of each name.
        same_images: Files by a key of :data:`LISTS`, each one or several.

    Returns:
        ``names``, and the same of every other name that the lists give one of them, or a name found so.

    Raises:
        ConfigError: If a key is not one of :data:`LISTS`.
        FileNotFoundError: If a file is not there.
        ValueError: If one is of another shape.
    """
    check_lists(same_images)
    files = [
        (kind, file) for kind, given in same_images.items() for file in existing_files(given, f"same_images.{kind}")
    ]
    found = dict(names)
    grown = True
    while grown:
        before = len(found)
        for kind, file in files:
            for group in LISTS[kind](file):
                known = sorted(name for name in group if name in found)
                found |= {name: found[known[0]] for name in group if known and name not in found}
        grown = len(found) > before
    return found
