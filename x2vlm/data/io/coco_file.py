"""COCO annotation files: parsed into pycocotools' index, with broken entries left out and counted."""

import contextlib
import io
import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.io.box_rules import polygon_box
from x2vlm.data.io.entry_fields import url_parts
from x2vlm.data.io.paths import existing_file

if TYPE_CHECKING:
    from pycocotools.coco import COCO

# What reading a broken entry raises.
_BROKEN = (KeyError, TypeError, ValueError, OverflowError, AttributeError)
_IDS = ("id", "image_id", "category_id")
_MAX_LOGGED = 5  # broken entries of a kind that the log names


def load_coco(path: str | PathLike, option: str, kinds: Iterable[str], dropped: Counter[str]) -> "COCO":
    """The annotations of a file, indexed by pycocotools; broken entries are left out and counted.

    Whole numbers written as floats, annotations without an id of their own, and shapes without a box are mended.

    Args:
        path: The file.
        option: The option that named it, for messages.
        kinds: The lists that it needs: ``images``, and what of :data:`CHECKS` its annotations are.
        dropped: Broken entries are added here, by kind.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If it is no COCO file of that kind, no entry of a list can be used, one id is there twice, or its
            annotations name none of its images.
    """
    from pycocotools.coco import COCO

    path = existing_file(path, option)
    checks = {_LISTS.get(kind, kind): CHECKS[kind] for kind in kinds}
    coco = COCO()
    coco.dataset = _parse(path, option, checks)
    for name, check in checks.items():
        entries = _plain(coco.dataset[name], name)
        coco.dataset[name] = list(_valid_entries(entries, name, check, path, dropped))
        if entries and not coco.dataset[name]:
            reason = _first_reason(check, entries)
            raise ValueError(f"{option}: {path}: none of its {len(entries)} {name} can be used: {reason}")
        if name != "annotations":
            _check_once(coco.dataset[name], name, option, path)
    _check_that_ids_meet(coco.dataset, option, path)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        coco.createIndex()
    return coco


def image_size(image: dict[str, Any]) -> tuple[float, float]:
    """(width, height) of an entry of ``images`` in pixels, infinite where they are missing."""
    return image.get("width", np.inf), image.get("height", np.inf)


def _parse(path: Path, option: str, lists: Iterable[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option}: {path} is no COCO annotation file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{option}: {path} is no COCO annotation file: it holds a {type(content).__name__}")
    missing = [name for name in lists if not isinstance(content.get(name), list)]
    if missing:
        raise ValueError(f"{option}: {path} is no COCO annotation file of this kind: it lacks {', '.join(missing)}")
    return content


def _valid_entries(
    entries: list[Any], name: str, check: Callable[[dict], None], path: Path, dropped: Counter[str]
) -> Iterator[dict]:
    reason = f"broken entry of {name}"
    for number, entry in enumerate(entries):
        try:
            check(entry)
            yield entry
        except _BROKEN as error:
            dropped[reason] += 1
            if dropped[reason] <= _MAX_LOGGED:
                sentence = f"{path}: {name}[{number}] is left out: {error!r:.200}"
                print_log(sentence, logger="current", level=logging.WARNING)


def _check_that_ids_meet(content: dict[str, list[Any]], option: str, path: Path) -> None:
    """Raises ValueError if annotations name no image of their file because ids are text here and numbers there."""
    images = {entry["id"] for entry in content["images"]}
    named = {entry["image_id"] for entry in content["annotations"]}
    if images and named and not images & named and {*map(str, images)} & {*map(str, named)}:
        one, other = next(iter(images)), next(iter(named))
        raise ValueError(
            f"{option}: {path}: its annotations do not meet its images: ids are {one!r} under images and {other!r} "
            "under annotations. Write both as numbers or both as text."
        )


def _check_once(entries: list[dict[str, Any]], name: str, option: str, path: Path) -> None:
    """Raises ValueError if two entries have one id: what belongs to one would be served with the other."""
    ids = Counter(entry["id"] for entry in entries)
    twice = [one for one, count in ids.items() if count > 1]
    if twice:
        more = f" ({len(twice)} ids are)" if len(twice) > 1 else ""
        raise ValueError(f"{option}: {path}: the id {twice[0]!r} is there {ids[twice[0]]} times under {name}{more}")


def _plain(entries: list[Any], name: str) -> list[Any]:
    """Entries as COCO has them: whole numbers written as floats, annotations without id, shapes without box."""
    return [
        _plain_entry(entry, number, name) if isinstance(entry, dict) else entry for number, entry in enumerate(entries)
    ]


def _plain_entry(entry: dict[str, Any], number: int, name: str) -> dict[str, Any]:
    ids = {key: int(entry[key]) for key in _IDS if isinstance(entry.get(key), float) and entry[key].is_integer()}
    if name == "annotations":
        ids |= {} if "id" in entry else {"id": number}
        if "bbox" not in entry and "segmentation" in entry:
            ids |= {"bbox": [*_shape_box(entry["segmentation"])]}
    if name == "images" and "file_name" not in entry and isinstance(entry.get("coco_url"), str):
        ids |= {"file_name": url_parts(entry["coco_url"], 2)}  # LVIS
    return entry | ids if ids else entry


def _shape_box(segmentation: Any) -> Sequence[float]:
    try:
        if not isinstance(segmentation, dict):
            return polygon_box(segmentation)
        from pycocotools import mask

        packed = isinstance(segmentation["counts"], str | bytes)
        rle = segmentation if packed else mask.frPyObjects(segmentation, *segmentation["size"])
        return mask.toBbox(rle).tolist()
    except _BROKEN:
        return ()  # no box: reported with its entry


def _first_reason(check: Callable[[dict], None], entries: list[Any]) -> str:
    try:
        check(entries[0])
    except _BROKEN as error:
        return f"the first one: {error!r:.200}"
    raise AssertionError("the check fails")


def _check_image(image: dict[str, Any]) -> None:
    _check_types(image, id=int | str, file_name=str)
    if not all(isinstance(side, int | float) and (side == np.inf or 0 < side < 2**31) for side in image_size(image)):
        raise ValueError(f"its width and height are {image_size(image)!r:.60}")


def _check_caption(annotation: dict[str, Any]) -> None:
    _check_types(annotation, id=int | str, image_id=int | str, caption=str)


def _check_category(category: dict[str, Any]) -> None:
    _check_types(category, id=int, name=str)


def _check_box(annotation: dict[str, Any]) -> None:
    _check_types(annotation, id=int | str, image_id=int | str, category_id=int, bbox=list)
    numbers = [float(value) if isinstance(value, int | float) else np.nan for value in annotation["bbox"]]
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise ValueError(f"its bbox is {annotation['bbox']!r:.60}; expected four numbers")
    np.array(annotation.get("att_vec") or [], dtype=np.int8)


def _check_types(entry: dict[str, Any], **types: Any) -> None:
    for name, expected in types.items():
        value = entry[name]
        if not isinstance(value, expected) or (isinstance(value, int) and abs(value) >= 2**53):
            raise TypeError(f"its {name} is {value!r:.60}")


CHECKS: dict[str, Callable[[dict], None]] = {
    "images": _check_image,
    "captions": _check_caption,
    "boxes": _check_box,
    "categories": _check_category,
}
"""What entries are checked for, by kind."""

_LISTS = {"captions": "annotations", "boxes": "annotations"}
