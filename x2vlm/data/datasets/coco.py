"""COCO annotation files: captions, the boxes of categories and their attributes, per picture."""

import contextlib
import io
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import Limits
from x2vlm.data.io.paths import existing_file, existing_folder, inside
from x2vlm.data.record import Record
from x2vlm.registry import DATASETS

if TYPE_CHECKING:
    from pycocotools.coco import COCO

HAVE = ("captions", "boxes")

Box = tuple[float, float, float, float]

_WRONG = (KeyError, TypeError, ValueError, OverflowError, AttributeError)
_NAMED = 5  # broken entries of a kind that the log names


@DATASETS.register_module()
class Coco(Adapter):
    """Pictures of COCO with their captions, their boxes, or both.

    A box becomes an element whose caption is the name of its category, of kind ``object``. Crowds (``iscrowd``) and
    boxes without area are dropped and counted in ``dropped``, as are broken entries, of which the log names the first;
    other boxes are cut to their picture. A picture marked ``has_boxes: false`` was not looked at by annotators of
    boxes: it has no elements, but is not an empty picture either. The identity is the picture's id. Boxes annotated
    with attributes (``att_vec`` of OVAD: for each attribute 1 has it, 0 has it not, -1 unknown) have them as
    ``extras["attributes"]`` of their element.

    Args:
        image_root: The folder of the pictures.
        captions_file: Captions format; None for none.
        instances_file: Instances format; None for none. At least one of the two is needed.
        require: What a picture must have to be a record: ``("captions",)``, ``("boxes",)`` or both. Empty: either will
            do. Pictures with neither are never records.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.Limits`.
    """

    paths = ("image_root", "captions_file", "instances_file")

    def __init__(
        self,
        image_root: str | PathLike,
        captions_file: str | PathLike | None = None,
        instances_file: str | PathLike | None = None,
        require: Sequence[str] = (),
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | Limits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if captions_file is None and instances_file is None:
            raise ValueError("Coco needs captions_file, instances_file or both")
        unknown = [name for name in require if name not in HAVE]
        if isinstance(require, str) or unknown:
            raise ValueError(f"require is {require!r}; expected some of {HAVE}")
        self.image_root = existing_folder(image_root, "image_root")
        self.dropped: Counter[str] = Counter()
        self._files: dict[int, str] = {}
        self._captions = {} if captions_file is None else self._read_captions(captions_file)
        self._categories: dict[int, str] = {}
        self._attributes: dict[int, list[np.ndarray | None]] = {}
        self._boxes = {} if instances_file is None else self._read_boxes(instances_file)
        self._name = Path(captions_file or instances_file).name
        ids = [image for image in self._files if self._is_record(image, require)]
        self.ids = [ids[row] for row in Subset.of(subset).rows(len(ids), lambda row: str(ids[row]))]

    def __len__(self) -> int:
        return len(self.ids)

    def record(self, index: int) -> Record:
        """The record of a picture.

        Raises:
            RecordError: If its file name leads out of ``image_root``.
        """
        image = self.ids[index]
        where = f"{self._name}:image {image}"
        record = {"where": where, "id": str(image), "image": inside(self.image_root, self._files[image], where)}
        if image in self._captions:
            record["caption"] = list(self._captions[image])
        if image in self._boxes:
            attributes = self._attributes.get(image, ())
            rows = zip_longest(self._boxes[image].tolist(), attributes)
            record["elems"] = [self._element(*row, attributes=known) for row, known in rows]
        return {**record, "extras": {}}

    def _element(
        self, x: float, y: float, width: float, height: float, category: float, attributes: np.ndarray | None
    ) -> dict[str, Any]:
        elem = {"bb": (x, y, width, height), "caption": self._categories[int(category)], "kind": "object"}
        return elem if attributes is None else {**elem, "extras": {"attributes": attributes.tolist()}}

    def _is_record(self, image: int, require: Sequence[str]) -> bool:
        has = {"captions": bool(self._captions.get(image)), "boxes": len(self._boxes.get(image, ())) > 0}
        return all(has[name] for name in require) and any(has.values())

    def _read_captions(self, path: str | PathLike) -> dict[int, list[str]]:
        coco = self._opened(path, "captions_file", {"images": _check_image, "annotations": _check_caption})
        self._files |= {image: entry["file_name"] for image, entry in coco.imgs.items()}
        captions: dict[int, list[str]] = defaultdict(list)
        for annotation in coco.dataset["annotations"]:
            captions[annotation["image_id"]].append(annotation["caption"])
        return dict(captions)

    def _read_boxes(self, path: str | PathLike) -> dict[int, np.ndarray]:
        """``[n, 5]`` by picture: x, y, width, height in pixels, and the category's id."""
        checks = {"images": _check_image, "annotations": _check_box, "categories": _check_category}
        coco = self._opened(path, "instances_file", checks)
        self._files |= {image: entry["file_name"] for image, entry in coco.imgs.items()}
        self._categories = {category: entry["name"] for category, entry in coco.cats.items()}
        sizes = {image: _size(entry) for image, entry in coco.imgs.items() if entry.get("has_boxes", True)}
        rows: dict[int, list[list[float]]] = {image: [] for image in sizes}
        attributes: dict[int, list[list[int] | None]] = {image: [] for image in sizes}
        for annotation in coco.dataset["annotations"]:
            box = cut(annotation["bbox"], *sizes.get(annotation["image_id"], (0, 0)))
            reason = self._reason_to_drop(annotation, annotation["image_id"] in sizes, box)
            if reason is None:
                rows[annotation["image_id"]].append([*box, annotation["category_id"]])
                attributes[annotation["image_id"]].append(annotation.get("att_vec"))
            else:
                self.dropped[reason] += 1
        self._attributes = {
            image: [None if one is None else np.array(one, dtype=np.int8) for one in known]
            for image, known in attributes.items()
            if any(one is not None for one in known)
        }
        if self.dropped:
            print_log(f"{path}: boxes dropped: {dict(self.dropped)}", logger="current")
        return {image: np.array(found, dtype=np.float64).reshape(-1, 5) for image, found in rows.items()}

    def _opened(self, path: str | PathLike, option: str, checks: dict[str, Callable[[dict], None]]) -> "COCO":
        """The annotations in pycocotools' shape, without the entries that are none: those are counted and named.

        Raises:
            ValueError: If the file is no COCO file of that kind.
        """
        from pycocotools.coco import COCO

        path = existing_file(path, option)
        coco = COCO()
        coco.dataset = _parsed(path, option, checks)
        for name, check in checks.items():
            entries = coco.dataset[name]
            coco.dataset[name] = list(self._in_order(entries, name, check, path))
            if entries and not coco.dataset[name]:
                raise ValueError(
                    f"{option}: {path}: none of its {len(entries)} {name} can be used: {_why(check, entries)}"
                )
        with contextlib.redirect_stdout(io.StringIO()):  # it prints as it works
            coco.createIndex()
        return coco

    def _in_order(self, entries: list[Any], name: str, check: Callable[[dict], None], path: Path) -> Iterator[dict]:
        for number, entry in enumerate(entries):
            try:
                check(entry)
                yield entry
            except _WRONG as error:
                self.dropped[f"broken entry of {name}"] += 1
                if self.dropped[f"broken entry of {name}"] <= _NAMED:
                    shown = f"{path}: {name}[{number}] is left out: {error!r:.200}"
                    print_log(shown, logger="current", level=logging.WARNING)

    def _reason_to_drop(self, annotation: dict[str, Any], has_boxes: bool, box: Box) -> str | None:
        if not has_boxes:
            return "picture without boxes"
        if annotation["category_id"] not in self._categories:
            return "unknown category"
        if annotation.get("iscrowd", 0):
            return "iscrowd"
        return None if box[2] > 0 and box[3] > 0 else "no area"


def _size(image: dict[str, Any]) -> tuple[float, float]:
    return image.get("width", np.inf), image.get("height", np.inf)


def cut(box: Sequence[float], width: float, height: float) -> Box:
    """The part of a box (x, y, width, height) that lies in a picture of that size.

    Boxes of COCO are rounded, and some reach out of their picture by a hundredth of a pixel or more. A box all outside
    has no width or no height left.
    """
    x, y = max(0.0, float(box[0])), max(0.0, float(box[1]))
    right, bottom = min(box[0] + box[2], width), min(box[1] + box[3], height)
    return x, y, right - x, bottom - y


def _parsed(path: Path, option: str, wanted: Iterable[str]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{option}: {path} is no COCO annotation file: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{option}: {path} is no COCO annotation file: it holds a {type(content).__name__}")
    missing = [name for name in wanted if not isinstance(content.get(name), list)]
    if missing:
        raise ValueError(f"{option}: {path} is no COCO annotation file of this kind: it lacks {', '.join(missing)}")
    return content


def _why(check: Callable[[dict], None], entries: list[Any]) -> str:
    try:
        check(entries[0])
    except _WRONG as error:
        return f"the first one: {error!r:.200}"
    raise AssertionError("it was found wrong before")


def _check_image(image: dict[str, Any]) -> None:
    _check(image, id=int | str, file_name=str)
    if not all(isinstance(side, int | float) and side > 0 for side in _size(image)):
        raise ValueError(f"its width and height are {_size(image)!r:.60}")


def _check_caption(annotation: dict[str, Any]) -> None:
    _check(annotation, id=int | str, image_id=int | str, caption=str)


def _check_category(category: dict[str, Any]) -> None:
    _check(category, id=int, name=str)


def _check_box(annotation: dict[str, Any]) -> None:
    _check(annotation, id=int | str, image_id=int | str, category_id=int, bbox=list)
    numbers = [float(one) if isinstance(one, int | float) else np.nan for one in annotation["bbox"]]
    if len(numbers) != 4 or not np.isfinite(numbers).all():
        raise ValueError(f"its bbox is {annotation['bbox']!r:.60}; expected four numbers")
    np.array(annotation.get("att_vec") or [], dtype=np.int8)


def _check(entry: dict[str, Any], **types: Any) -> None:
    for name, wanted in types.items():
        value = entry[name]
        if not isinstance(value, wanted) or (isinstance(value, int) and abs(value) >= 2**53):
            raise TypeError(f"its {name} is {value!r:.60}")
