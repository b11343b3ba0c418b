"""COCO: images with their captions, and boxes with categories and attributes."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from itertools import zip_longest
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.box_rules import Box, conventions_that_fit, proposed_convention, xywh_inside
from x2vlm.data.io.coco_file import image_size, load_coco
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_folder, path_inside
from x2vlm.data.record import Record
from x2vlm.registry import DATASETS

REQUIREMENTS = ("captions", "boxes")

_FEW_WRONG, _MANY_WRONG = 5, 0.05  # boxes, and their share, from which on a whole file looks wrong


@DATASETS.register_module()
class Coco(Adapter):
    """Images of COCO with their captions, their boxes, or both.

    A box becomes an element whose caption is the name of its category, of kind ``object``. LVIS and Objects365 are read
    too: the end of ``coco_url`` is the file of an image without ``file_name``, underscores in names are spaces. Crowds
    (``iscrowd``) and boxes that are none (smaller than a pixel, or far outside their image) are dropped and counted in
    ``dropped``, as are broken entries, of which the log lists the first; a small overhang is cut. Where many boxes lie
    outside and would fit by another convention, the file is refused. The width and height that the file states are
    compared with the image when it is read (``LoadImage``). An image marked ``has_boxes: false`` has no box
    annotations: it has no elements, but is not an empty image either. The identity is the image's id. Boxes annotated
    with attributes (``att_vec`` of OVAD: for each attribute 1 has it, 0 has it not, -1 unknown) have them as
    ``extras["attributes"]`` of their element.

    Args:
        image_root: The folder of the images.
        captions_file: Captions format; None for none.
        instances_file: Instances format; None for none. At least one of the two is needed.
        require: What an image must have to be a record: ``("captions",)``, ``("boxes",)`` or both. Empty: either will
            do. Images with neither are never records.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
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
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if captions_file is None and instances_file is None:
            raise ValueError("Coco needs captions_file, instances_file or both")
        unknown = [name for name in require if name not in REQUIREMENTS]
        if isinstance(require, str) or unknown:
            raise ValueError(f"require is {require!r}; expected some of {REQUIREMENTS}")
        self.image_root = existing_folder(image_root, "image_root")
        self.dropped: Counter[str] = Counter()
        self._files: dict[int, str] = {}
        self._captions = {} if captions_file is None else self._read_captions(captions_file)
        self._sizes: dict[int, tuple[float, float]] = {}
        self._categories: dict[int, str] = {}
        self._attributes: dict[int, list[np.ndarray | None]] = {}
        self._boxes = {} if instances_file is None else self._read_boxes(instances_file)
        if captions_file is not None and instances_file is not None:
            _check_that_they_meet(self._captions, self._boxes, captions_file, instances_file)
        self._name = Path(captions_file or instances_file).name
        ids = [image for image in self._files if self._is_record(image, require)]
        self.ids = [ids[index] for index in Subset.of(subset).indices(len(ids), lambda index: str(ids[index]))]

    def __len__(self) -> int:
        return len(self.ids)

    def record(self, index: int) -> Record:
        """The record of an image.

        Raises:
            RecordError: If its file name leads out of ``image_root``.
        """
        image = self.ids[index]
        where = f"{self._name}:image {image}"
        record = {"where": where, "id": str(image), "image": path_inside(self.image_root, self._files[image], where)}
        if image in self._captions:
            record["caption"] = list(self._captions[image])
        if image in self._boxes:
            attributes = self._attributes.get(image, ())
            boxes = zip_longest(self._boxes[image].tolist(), attributes)
            record["elems"] = [self._element(*box, attributes=vector) for box, vector in boxes]
            if np.isfinite(self._sizes[image]).all():
                record["stated_size"] = self._sizes[image]
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
        coco = load_coco(path, "captions_file", ("images", "captions"), self.dropped)
        self._files |= {image: entry["file_name"] for image, entry in coco.imgs.items()}
        captions: dict[int, list[str]] = defaultdict(list)
        for annotation in coco.dataset["annotations"]:
            captions[annotation["image_id"]].append(annotation["caption"])
        return dict(captions)

    def _read_boxes(self, path: str | PathLike) -> dict[int, np.ndarray]:
        """``[n, 5]`` by image: x, y, width, height in pixels, and the category's id."""
        coco = load_coco(path, "instances_file", ("images", "boxes", "categories"), self.dropped)
        self._files |= {image: entry["file_name"] for image, entry in coco.imgs.items()}
        self._categories = {category: entry["name"].replace("_", " ") for category, entry in coco.cats.items()}
        sizes = {image: image_size(entry) for image, entry in coco.imgs.items() if entry.get("has_boxes", True)}
        self._sizes |= sizes
        boxes: dict[int, list[list[float]]] = {image: [] for image in sizes}
        attributes: dict[int, list[list[int] | None]] = {image: [] for image in sizes}
        kept = 0
        wrong: list[tuple[Box, tuple[float, float]]] = []
        for annotation in coco.dataset["annotations"]:
            image = annotation["image_id"]
            reason = self._reason_to_drop(annotation, image in sizes)
            if reason is None:
                try:
                    box = xywh_inside(annotation["bbox"], *sizes[image])
                except ValueError as error:
                    reason = "smaller than a pixel" if "smaller" in str(error) else "outside its image"
                    wrong.append((annotation["bbox"], sizes[image]))
            if reason is None:
                kept += 1
                boxes[image].append([*box, annotation["category_id"]])
                attributes[image].append(annotation.get("att_vec"))
            else:
                self.dropped[reason] += 1
        _check_convention(wrong, kept, path)
        self._attributes = {
            image: [None if vector is None else np.array(vector, dtype=np.int8) for vector in vectors]
            for image, vectors in attributes.items()
            if any(vector is not None for vector in vectors)
        }
        if self.dropped:
            print_log(f"{path}: boxes dropped: {dict(self.dropped)}", logger="current")
        return {image: np.array(listed, dtype=np.float64).reshape(-1, 5) for image, listed in boxes.items()}

    def _reason_to_drop(self, annotation: dict[str, Any], has_boxes: bool) -> str | None:
        if not has_boxes:
            return "image without boxes"
        if annotation["category_id"] not in self._categories:
            return "unknown category"
        return "iscrowd" if annotation.get("iscrowd", 0) else None


def _check_convention(wrong: list[tuple[Box, tuple[float, float]]], kept: int, path: str | PathLike) -> None:
    """Refuse a file whose boxes follow another convention.

    Raises:
        ValueError: If many boxes are none, and nearly all of those would be some by another convention.
    """
    if len(wrong) < max(_FEW_WRONG, _MANY_WRONG * (len(wrong) + kept)):
        return
    hint = proposed_convention([conventions_that_fit(box, *size) for box, size in wrong if np.isfinite(size).all()])
    if hint:
        raise ValueError(f"instances_file: {path}: {len(wrong)} of its {len(wrong) + kept} boxes are none{hint}")


def _check_that_they_meet(captions: dict, boxes: dict, captions_file: Any, instances_file: Any) -> None:
    """Raises ValueError if no image has both captions and boxes because ids are text here and numbers there."""
    if captions and boxes and not captions.keys() & boxes.keys() and {*map(str, captions)} & {*map(str, boxes)}:
        one, other = next(iter(captions)), next(iter(boxes))
        raise ValueError(
            f"captions_file: {captions_file} and instances_file: {instances_file} do not meet: image ids are "
            f"{one!r} in the first and {other!r} in the second. Write both as numbers or both as text."
        )
