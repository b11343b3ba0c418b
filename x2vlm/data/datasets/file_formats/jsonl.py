"""JSON-lines annotations (the published format): images or videos with captions, elements, questions, labels."""

import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import first_item, first_value, read_captions, read_elements, read_size
from x2vlm.data.io.image_decoding import from_base64
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
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


_LONGEST_NAME = 255  # bytes, on nearly all file systems
_SHORTEST_BASE64 = 64  # characters of the smallest image
_BEGINNINGS = ("/9j/", "iVBORw0KGgo", "UklGR", "R0lGOD")  # JPEG, PNG, WEBP, GIF
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
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
        if num_images is not None and num_images < 1:
            raise ValueError(f"num_images is {num_images}; expected 1 or more, or None for any number")
        self.num_images = num_images
        if image_format not in ("auto", "path", "base64"):
            raise ValueError(f"image_format is {image_format!r}; expected 'auto', 'path' or 'base64'")
        if kind not in (None, "object", "region"):
            raise ValueError(f"kind is {kind!r}; expected 'object', 'region' or None")
        self.keys = _with_defaults(keys or {})
        self.lines = json_lines(existing_files(ann_file, "ann_file"), "ann_file", self.limits.max_bytes)
        self.image_root = None if image_root is None else existing_folder(image_root, "image_root")
        self.image_format = image_format
        self.kind = kind
        self.names = FileNames(file_pattern, file_map)
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
        media, texts = self._media(line, root, where), self._texts(line, where)
        extras = {key: _extra(line, key, where) for key in self.keys["extras"]}
        return {"where": where, "id": self._identity(number, line), **media, **texts, "extras": extras}

    def _has(self, row: int, names: Sequence[str]) -> bool:
        """Whether a line has all of these; one that is broken stays, and is told when it is read."""
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
        is_path = isinstance(value, str | int) and self._holds_paths(key) and not is_base64_file(value)
        return str(value) if is_path else self.lines.where(number)

    def _warn_of_split_identities(self) -> None:
        """Look at the first records: captions of one image under several identities would be negatives."""
        owners: dict[str, str] = {}
        for row in self.indices[:_LOOKED_AT].tolist():
            try:
                line = self.lines.json(row)
            except RecordError:
                continue  # told when it is read
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

    def _media(self, line: dict, root: Path, where: str) -> Record:
        """``image``, ``images`` or ``video``, and ``clips`` of the record."""
        media = self._image_group(line, root, where) or self._image_or_video(line, root, where)
        clips = first_value(line, self.keys["clips"])
        if clips is not None:
            if not isinstance(clips, list):
                raise RecordError(where, f"clips: expected a list of objects, got {clips!r:.60}")
            media["clips"] = [self._clip(clip, root, f"{where} clips[{i}]") for i, clip in enumerate(clips)]
        if not media:
            keys = [self.keys[name] for name in ("image", "images", "video", "clips")]
            raise RecordError(
                where, f"has no image and no video: none of the keys {keys} is there, only {sorted(line)}"
            )
        return media

    def _image_group(self, line: dict, root: Path, where: str) -> Record:
        """The ``images`` to which every text attends, where there are some."""
        keys = self.keys["images"]
        if isinstance(keys, Mapping):
            items = [first_item(line, key) for key in keys.values()]
            if None in items:
                raise RecordError(where, f"lacks an image: needs {[*keys.values()]}, has {sorted(line)}")
        else:
            key, values = first_item(line, keys) or ("", [])
            if not isinstance(values, list):
                raise RecordError(where, f"{key}: expected a list of images, got {values!r:.60}")
            items = [(key, value) for value in values]
        if self.num_images not in (None, len(items)):
            raise RecordError(where, f"shows {len(items)} images together; expected {self.num_images} (num_images)")
        return {"images": [self._source(*item, root, where) for item in items]} if items else {}

    def _image_or_video(self, line: dict, root: Path, where: str) -> Record:
        image = first_item(line, self.keys["image"])
        key, value = image or first_item(line, self.keys["video"]) or ("", None)
        if value is None:
            return {}
        if isinstance(value, list) and value and isinstance(value[0], list):
            return self._nested_clips(key, value, line, root, where)
        if isinstance(value, list):
            return {"video": [self._source(key, one, root, where) for one in value]}
        if image:
            return {"image": self._source(key, value, root, where)}
        return {"video": self._source(key, value, root, where, file=True), **self._segment(line, where)}

    def _segment(self, line: dict, where: str) -> Record:
        """``segment``, the part of the video that is meant, in seconds, where the record names one."""
        start, end = (first_value(line, self.keys[key]) for key in ("start", "end"))
        if start is None and end is None:
            return {}
        part = 0.0 if start is None else start, math.inf if end is None else end
        if not all(isinstance(one, int | float) for one in part) or not 0 <= part[0] < part[1]:
            raise RecordError(
                where, f"start and end: expected seconds, the first smaller, got {start!r:.40}, {end!r:.40}"
            )
        return {"segment": part}

    def _nested_clips(self, key: str, value: list, line: dict, root: Path, where: str) -> Record:
        """Clips as the release writes them: a list of frames for each, and a list with the caption of each."""
        captions = first_value(line, self.keys["caption"])
        if not isinstance(captions, list) or len(captions) != len(value):
            raise RecordError(where, f"{key} has {len(value)} clips; expected a list of as many captions, one for each")
        continuous = line.get("is_continuous")
        if not isinstance(continuous, bool):
            raise RecordError(where, f"is_continuous is {continuous!r}; clips need true or false there")
        clips = []
        for frames, caption in zip(value, captions, strict=True):
            if not isinstance(frames, list) or not isinstance(caption, str):
                raise RecordError(where, f"{key}: expected lists of frames with a caption each, got {caption!r:.60}")
            clips.append({"video": [self._source(key, one, root, where) for one in frames], "caption": caption.strip()})
        return {"clips": clips, "is_continuous": continuous}

    def _clip(self, clip: Any, root: Path, where: str) -> Record:
        media = self._image_or_video(clip, root, where) if isinstance(clip, dict) else {}
        if "video" not in media:
            raise RecordError(where, f"expected an object with a video or a list of frames, got {clip!r:.80}")
        return {**media, "caption": read_captions(clip, self.keys["caption"], where)}

    def _source(self, key: str, value: Any, root: Path, where: str, file: bool = False) -> Path | bytes:
        holds_paths = file or self._holds_paths(key, value)
        if holds_paths and not (self.image_format == "auto" and is_base64_file(value)):
            return path_inside(root, self.names(value, where), where)
        return from_base64(value, where)

    def _holds_paths(self, key: str, value: Any = None) -> bool:
        name = key.rpartition(".")[2]
        if self.image_format == "auto":
            return "." in str(value) if name == "video_frames" else name != "binary"
        return self.image_format == "path"

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


def is_base64_file(value: Any) -> bool:
    """Whether a text is a file in base64 and no path: it begins as images do, or is longer than names may be."""
    if not isinstance(value, str) or len(value) < _SHORTEST_BASE64:
        return False
    return (value.startswith(_BEGINNINGS) or len(value) > _LONGEST_NAME) and _BASE64.fullmatch(value) is not None


def _with_defaults(keys: Mapping[str, Any]) -> dict[str, Any]:
    check_names(keys, KEYS, "keys has no")
    return {**KEYS, **keys}
