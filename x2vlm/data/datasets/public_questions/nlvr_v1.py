"""NLVR v1: true or false sentences about synthetic images of coloured shapes, with the box of each shape."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import existing_files, path_inside
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import MALFORMED, Record, RecordError
from x2vlm.registry import DATASETS

ORDERS = tuple(permutations(range(3)))
"""Slot ``j`` of image ``k`` shows box ``ORDERS[k][j]`` of the structured representation."""

SLOT_STEP = 150
"""Pixels from the left edge of one drawn box to the next: 100 wide, 50 apart."""

COLORS = {"Yellow": "yellow", "Black": "black", "#0099ff": "blue"}
SIZES = {10: "small", 20: "medium", 30: "big"}


@DATASETS.register_module()
class NlvrV1(Adapter):
    """An image with a sentence about it; its shapes are elements of kind ``object``.

    An element's caption is the type of the shape and its attributes are size and colour: "small yellow" "triangle". The
    sentence is the caption, its truth the label; ``extras`` holds ``label``, ``identifier`` and ``picture``. To
    classify sentences as true or false, take ``only_true=False`` and ``PickLabel``. An example has up to six images,
    which show its three boxes in another order; each is a record, with the identity ``identifier-number``. Examples
    whose identifier starts alike share their sentence.

    Args:
        ann_file: JSON lines: a file, a pattern, or several of either.
        images: The tar file of the images, or the folder they were unpacked to.
        only_true: Leave out false sentences, as training on captions needs.
        pictures: Which of an example's images to use, by number 0..5 of their order; None for all that are there.
        ambiguous: False leaves out elements whose phrase fits several shapes of the image, for grounding, and examples
            that have no others.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("ann_file", "images")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        images: str | PathLike,
        only_true: bool = True,
        pictures: Sequence[int] | None = None,
        ambiguous: bool = True,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.lines = json_lines(existing_files(ann_file, "ann_file"), "ann_file", self.limits.max_bytes)
        self.images = _folder_or_tar(Path(images).expanduser(), self.limits.max_bytes)
        self.only_true = only_true
        self.pictures = _checked_pictures(pictures)
        self.ambiguous = ambiguous
        images = [pair for line in range(len(self.lines)) for pair in self._images_of_line(line)]
        indices = Subset.of(subset).indices(len(images), lambda index: self._identity(*images[index]))
        self.line_and_position = np.array(images, dtype=np.int64)[indices]  # [n, 2]: line, position among its images

    def __len__(self) -> int:
        return len(self.line_and_position)

    def record(self, index: int) -> Record:
        """The record of an image.

        Raises:
            RecordError: If the line is broken, or the image is missing.
        """
        number, position = self.line_and_position[index].tolist()
        line, where = self.lines.json(number), self.lines.where(number)
        try:
            name, sentence, label = _images_of(line)[position], line["sentence"], _truth(line)
            order = _order(line, position)
            elems = _elements(line["structured_rep"], order, self.ambiguous) if "structured_rep" in line else []
            identifier = line["identifier"]
        except MALFORMED as error:
            raise RecordError(where, f"not an example of NLVR v1: {error!r:.200}") from error
        return {
            "where": where,
            "id": f"{identifier}-{order}",
            "image": self._image(name, where),
            "caption": sentence,
            "elems": elems,
            "label": label,
            "extras": {"label": label, "identifier": identifier, "picture": order},
        }

    def _image(self, name: Any, where: str) -> bytes | Path:
        if isinstance(self.images, Path):
            return path_inside(self.images, name, where)
        if not isinstance(name, str):
            raise RecordError(where, f"expected the name of an image, got {name!r:.60}")
        return self.images.read(name, where)

    def _images_of_line(self, number: int) -> list[tuple[int, int]]:
        """(line, position) of the images of a line that are used; a broken line stays, to be reported when read."""
        try:
            line = self.lines.json(number)
            if self.only_true and not _truth(line):
                return []
            if not self.ambiguous and not _elements(line["structured_rep"], 0, ambiguous=False):
                return []
            orders = [_order(line, position) for position in range(len(_images_of(line)))]
        except (RecordError, *MALFORMED):
            return [(number, 0)]
        return [(number, i) for i, order in enumerate(orders) if self.pictures is None or order in self.pictures]

    def _identity(self, number: int, position: int) -> str:
        line = self.lines.json(number)
        return f"{line.get('identifier')}-{line.get('permutation', position)}"


def _images_of(line: dict[str, Any]) -> list[Any]:
    if not isinstance(line["images"], list) or len(line["images"]) > len(ORDERS):
        raise ValueError(f"images: expected a list of up to {len(ORDERS)} names, got {line['images']!r:.60}")
    return line["images"]


def _truth(line: dict[str, Any]) -> bool:
    return {"true": True, "false": False}[line["label"]]


def _order(line: dict[str, Any], position: int) -> int:
    """The number of an image's order: its position, or ``permutation`` where an example has one image only."""
    return int(line.get("permutation", position))


def _elements(boxes: Sequence[Sequence[dict]], order: int, ambiguous: bool) -> list[dict[str, Any]]:
    """The shapes of image ``order``, with their boxes (right and bottom edge exclusive) in pixels."""
    elems = [_element(item, slot) for slot, box in enumerate(ORDERS[order]) for item in boxes[box]]
    if ambiguous:
        return elems
    counts = Counter((elem["attributes"], elem["caption"]) for elem in elems)
    return [elem for elem in elems if counts[elem["attributes"], elem["caption"]] == 1]


def _element(item: dict[str, Any], slot: int) -> dict[str, Any]:
    size = item["size"]
    return {
        "bb": (float(SLOT_STEP * slot + item["x_loc"]), float(item["y_loc"]), float(size), float(size)),
        "caption": item["type"],
        "attributes": f"{SIZES[size]} {COLORS[item['color']]}",
        "kind": "object",
    }


def _folder_or_tar(path: Path, max_bytes: int) -> Path | TarIndex:
    if path.is_dir():
        return path
    if not path.is_file():
        raise FileNotFoundError(f"images: {path} does not exist; expected the tar file of the images, or their folder")
    index = TarIndex(path, max_bytes=max_bytes)
    if not len(index):
        raise ValueError(f"images: {path}: {index.problem or 'the tar file is empty'}")
    return index


def _checked_pictures(pictures: Sequence[int] | None) -> frozenset[int] | None:
    if pictures is None:
        return None
    wrong = [number for number in pictures if number not in range(len(ORDERS))]
    if wrong or not pictures:
        raise ValueError(f"pictures is {list(pictures)}; expected numbers from 0 to {len(ORDERS) - 1}")
    return frozenset(pictures)
