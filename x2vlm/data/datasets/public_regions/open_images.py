"""Open Images as published: CSV files with boxes as shares of the image, and the names of classes."""

import csv
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import FileNames, existing_file, existing_files, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

COLUMNS = ("ImageID", "LabelName", "XMin", "XMax", "YMin", "YMax")
FLAGS = ("IsOccluded", "IsTruncated", "IsGroupOf", "IsDepiction", "IsInside")


@DATASETS.register_module()
class OpenImages(NumberedAdapter):
    """Images with boxes of classes, as elements of kind ``object``.

    Boxes are shares of the image and become pixels when it is read (``LoadImage``).

    Args:
        boxes_file: ``train-annotations-bbox.csv``, ``oidv6-train-annotations-bbox.csv``, ...: a file, a pattern, or
            several of either. Held in memory: about 14.6 million boxes in the training set.
        classes_file: ``class-descriptions-boxable.csv``: a class and its name in each line.
        image_root: The folder of the images.
        leave_out: Boxes with one of these flags are left out: those around groups, by default.
        file_pattern: What makes a path of an ``ImageID``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If a file is of another shape, or a flag is unknown.
    """

    paths = ("boxes_file", "classes_file", "image_root")

    def __init__(
        self,
        boxes_file: str | PathLike | Sequence[str | PathLike],
        classes_file: str | PathLike,
        image_root: str | PathLike,
        leave_out: Sequence[str] = ("IsGroupOf",),
        file_pattern: str = "{}.jpg",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        unknown = [flag for flag in leave_out if flag not in FLAGS]
        if isinstance(leave_out, str) or unknown:
            raise ValueError(f"leave_out is {leave_out!r}; expected some of {', '.join(FLAGS)}")
        self.image_root, self.names = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        self.classes = dict(_classes(existing_file(classes_file, "classes_file")))
        self._boxes: dict[str, list[tuple[str, tuple[str, str, str, str], str]]] = defaultdict(list)
        for file in existing_files(boxes_file, "boxes_file"):
            for place, row in _rows(file):
                if not any(row.get(flag) == "1" for flag in leave_out):
                    corners = tuple(row.get(name) or "" for name in COLUMNS[2:])
                    self._boxes[row.get("ImageID") or place].append((row.get("LabelName") or "", corners, place))
        self.images = list(self._boxes)
        if not self.images:
            raise ValueError(f"boxes_file: {boxes_file} has no box")
        self._take(len(self.images), subset)

    def _record(self, number: int) -> Record:
        image = self.images[number]
        where = self._boxes[image][0][2]
        elems = []
        for label, corners, place in self._boxes[image]:
            if label not in self.classes:
                raise RecordError(where, f"{place}: the class {label!r:.40} has no name in the file of classes")
            try:
                x0, x1, y0, y1 = map(float, corners)
            except ValueError as error:
                raise RecordError(where, f"{place}: expected four numbers from 0 to 1, got {corners!r:.80}") from error
            elems.append({"bb": (x0, y0, x1 - x0, y1 - y0), "caption": self.classes[label].lower(), "kind": "object"})
        path = path_inside(self.image_root, self.names(image, where), where)
        return {"where": where, "id": image, "image": path, "elems": elems, "boxes_are_shares": True, "extras": {}}


def _classes(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for row in csv.reader(file):
            if len(row) >= 2:
                yield row[0], row[1]


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"boxes_file: {path} has no column {', '.join(missing)}; it has {reader.fieldnames}")
        for row in reader:
            yield f"{path.name}:{reader.line_num}", row
