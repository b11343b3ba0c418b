"""JSON-lines annotations (the published format): images or videos with captions, elements, questions, labels."""

import logging
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.file_formats.media_fields import MediaFields, is_base64_file
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import first_item, first_value, read_captions, read_elements, read_size
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder
from x2vlm.data.options import check_names
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

KEYS: dict[str, Any] = {
    "image": ("binary", "image"),
    "images": "images",
    "video": ("video", "frames", "video_frames"),
    "clips": "clips",
    "caption": ("caption", "desc", "text"),
    "elems": "elems",
    "bb": None,
    "question": "question",
    "answers": ("answers", "answer"),
    "choices": "choices",
    "negatives": "negatives",
    "label": "label",
    "id": ("image_id", "id"),
    "width": "width",
    "height": "height",
    "start": "start",
    "end": "end",
    "extras": (),
}


_LOOKED_AT = 1000  # records whose identities are compared when the adapter is made


@DATASETS.register_module()
class JsonLines(Adapter):
    """JSON objects, one a line or in one array: an image, several images, a video or its frames, with their texts.

    Images and frames are paths or base64. ``image_format="auto"`` goes by the key: what stands under ``binary`` is
    base64, what stands under any other key is a path, unless it begins as an image in base64 or is too long for a
    path; under ``video_frames``, as in the published lines of videos, what
    has a dot is a path, and the rest base64, which has none. A list of images is a list of frames, whatever its key,
    but for ``images``: every text attends to all of these. A string under the video key is the path of a video
    file. A list of lists under the video key are clips, whose captions are a list as long; ``is_continuous`` says
    whether they continue each other (then they may be joined) or are cut out of a video here and there.

    Args:
        ann_file: A file, a pattern such as ``"train-*.jsonl"``, or several of either.
        image_root: The folder that paths start from; None: the folder of the annotation file. Paths that lead out of it
            are refused, so absolute ones need a root above them (``"/"`` allows all).
        keys: The keys of fields that differ from :data:`KEYS`: a key, several in order of preference,
            or None for "do not read". Dots separate keys of nested objects. ``caption`` and ``question`` may be dicts
            from language to key, ``images`` one from any name to key where each image has its own key. ``bb`` is the
            key of the box of an object that is one phrase with one box (RefCOCO); its phrase is the caption. ``extras``
            lists the keys that are copied to ``extras`` for metrics. The identity is ``image_id`` where it is there,
            else ``id``, else the file. ``width`` and ``height`` are compared with the image where there are boxes;
            ``start`` and ``end`` are the seconds of a video that are meant.
        image_format: ``"auto"``, ``"path"`` or ``"base64"``.
        kind: ``"object"`` or ``"region"``: the kind of elements that have none; None leaves it open.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
        file_pattern: Makes a path of the name of an image or video, e.g. ``"{}.mp4"`` or ``"{:012d}.jpg"``.
        file_map: A JSON file with an object from the name of an image or video to its path.
        num_images: A record with more or fewer ``images`` that are read together is a bad one; None takes any number.
        require: Names of :data:`KEYS`; lines where one of them is missing or empty are left out, and are no bad records
            (WIT's lines without a description). All lines are read once for it.
    """

    paths = ("ann_file", "image_root", "file_map")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike | None = None,
        keys: Mapping[str, Any] | None = None,
        image_format: str = "auto",
        kind: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        file_pattern: str | None = None,
        file_map: str | PathLike | None = None,
        limits: dict | RecordLimits | None = None,
        num_images: int | None = None,
        require: Sequence[str] = (),
    ) -> None:
        super().__init__(pipeline, limits)
        if kind not in (None, "object", "region"):
            raise ValueError(f"kind is {kind!r}; expected 'object', 'region' or None")
        self.keys = _with_defaults(keys or {})
        self.media = MediaFields(self.keys, image_format, FileNames(file_pattern, file_map), num_images)
        self.lines = json_lines(existing_files(ann_file, "ann_file"), "ann_file", self.limits.max_bytes)
        self.image_root = None if image_root is None else existing_folder(image_root, "image_root")
        self.kind = kind
        self.indices = Subset.of(subset).indices(len(self.lines), self._identity)
        if require:
            check_names(require, KEYS, "require has no")
            rows = [row for row in self.indices if self._has(int(row), require)]
            self.indices = np.array(rows, dtype=np.int64)
            if not len(self.indices):
                raise ValueError(f"no line of {ann_file} has {', '.join(require)}")
        self._warn_of_split_identities()

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, index: int) -> Record:
        """The record of a line.

        Raises:
            RecordError: If the line is broken, has no image or video, has no text or label, or names a file outside
                ``image_root``.
        """
        number = int(self.indices[index])
        line, where = self.lines.json(number), self.lines.where(number)
        root = self.image_root or self.lines.file(number).parent
        media, texts = self.media.read(line, root, where), self._texts(line, where)
        extras = {key: _extra(line, key, where) for key in self.keys["extras"]}
        return {"where": where, "id": self._identity(number, line), **media, **texts, "extras": extras}

    def _has(self, row: int, names: Sequence[str]) -> bool:
        """Whether a line has all of these; one that is broken stays, and is reported when it is read."""
        try:
            line = self.lines.json(row)
        except RecordError:
            return True
        return all(first_value(line, self.keys[name]) not in (None, "", []) for name in names)

    def _identity(self, number: int, line: dict | None = None) -> str:
        """The annotated identity, else the path of the image or video, else ``where``."""
        line = self.lines.json(number) if line is None else line
        identity = first_value(line, self.keys["id"])
        if identity is not None:
            return str(identity)
        key, value = first_item(line, self.keys["image"]) or first_item(line, self.keys["video"]) or ("", None)
        is_path = isinstance(value, str | int) and self.media.holds_paths(key) and not is_base64_file(value)
        return str(value) if is_path else self.lines.where(number)

    def _warn_of_split_identities(self) -> None:
        """Look at the first records: captions of one image under several identities would be negatives."""
        owners: dict[str, str] = {}
        for row in self.indices[:_LOOKED_AT].tolist():
            try:
                line = self.lines.json(row)
            except RecordError:
                continue  # reported when it is read
            file = first_value(line, self.keys["image"]) or first_value(line, self.keys["video"])
            identity = self._identity(row, line)
            if isinstance(file, str) and not is_base64_file(file) and owners.setdefault(file, identity) != identity:
                message = (
                    f"{self.lines.where(row)}: {file:.100} is shown under the identities {owners[file]!r:.60} and "
                    f"{identity!r:.60}. Records that show the same thing need one identity: keys=dict(id=...) names "
                    "it, and keys=dict(id=None) takes the file."
                )
                print_log(message, logger="current", level=logging.WARNING)
                return

    def _texts(self, line: dict, where: str) -> Record:
        """Captions, elements, question, answers and label of the record, those that are there."""
        texts = {name: read_captions(line, self.keys[name], where) for name in ("caption", "question")}
        texts |= {
            name: first_value(line, self.keys[name]) for name in ("elems", "answers", "choices", "negatives", "label")
        }
        texts = {name: value for name, value in texts.items() if value is not None}
        box = first_value(line, self.keys["bb"])
        if box is not None:
            texts["elems"] = [{"bb": box, "caption": texts.pop("caption", None)}]
        if "elems" in texts:
            texts["elems"] = read_elements(texts["elems"], where, self.kind)
            texts |= read_size(line, self.keys["width"], self.keys["height"], where)
        if not texts and first_value(line, self.keys["clips"]) is None:
            keys = [self.keys[name] for name in ("caption", "elems", "question", "label")]
            raise RecordError(where, f"has no text and no label: none of the keys {keys} is there, only {sorted(line)}")
        return texts


def _extra(line: dict, key: str, where: str) -> Any:
    item = first_item(line, key)
    if item is None:
        raise RecordError(where, f"has no {key!r}, which keys.extras lists")
    return item[1]


def _with_defaults(keys: Mapping[str, Any]) -> dict[str, Any]:
    check_names(keys, KEYS, "keys has no")
    return {**KEYS, **keys}
