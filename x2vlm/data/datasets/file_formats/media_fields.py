"""Images, videos and clips of an annotated object: paths or base64, under keys that a config may name."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from x2vlm.data.io.annotations import first_item, first_value, read_captions
from x2vlm.data.io.image_decoding import from_base64
from x2vlm.data.io.line_index import PUBLIC_FILE
from x2vlm.data.io.paths import FileNames, path_inside
from x2vlm.data.record import Record, RecordError

_LONGEST_NAME = 255  # bytes, on nearly all file systems
_SHORTEST_BASE64 = 64  # characters of the smallest image
_BEGINNINGS = ("/9j/", "iVBORw0KGgo", "UklGR", "R0lGOD")  # JPEG, PNG, WEBP, GIF
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")


class MediaFields:
    """Reads images, videos and clips from the object of a record.

    Args:
        keys: The keys of ``image``, ``images``, ``video``, ``clips``, ``caption``, ``start`` and ``end``, as of
            :class:`~x2vlm.data.datasets.file_formats.jsonl.JsonLines`.
        image_format: ``"auto"``, ``"path"`` or ``"base64"``.
        names: Makes paths of names.
        num_images: Expected number of ``images`` that are read together; None takes any number.

    Raises:
        ValueError: If a setting has no meaning.
    """

    def __init__(self, keys: Mapping[str, Any], image_format: str, names: FileNames, num_images: int | None) -> None:
        if num_images is not None and num_images < 1:
            raise ValueError(f"num_images is {num_images}; expected 1 or more, or None for any number")
        if image_format not in ("auto", "path", "base64"):
            raise ValueError(f"image_format is {image_format!r}; expected 'auto', 'path' or 'base64'")
        self.keys, self.image_format, self.names, self.num_images = keys, image_format, names, num_images

    def read(self, line: dict, root: Path, where: str) -> Record:
        """``image``, ``images`` or ``video``, and ``clips`` of the record.

        Args:
            line: The object of the record.
            root: The folder that paths start from.
            where: ``file:line`` of the record, for messages.

        Raises:
            RecordError: If it has neither, or names a file outside of ``root``.
        """
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
            if any(isinstance(value, dict) for value in values):
                raise RecordError(where, f"{key}: expected names of images, got {values[0]!r:.60}. {PUBLIC_FILE}")
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
        holds_paths = file or self.holds_paths(key, value)
        if holds_paths and not (self.image_format == "auto" and is_base64_file(value)):
            return path_inside(root, self.names(value, where), where)
        return from_base64(value, where)

    def holds_paths(self, key: str, value: Any = None) -> bool:
        """Whether what stands under a key is a path, and not base64."""
        name = key.rpartition(".")[2]
        if self.image_format == "auto":
            return "." in str(value) if name == "video_frames" else name != "binary"
        return self.image_format == "path"


def is_base64_file(value: Any) -> bool:
    """Whether a text is a file in base64 and no path: it begins as images do, or is longer than names may be."""
    if not isinstance(value, str) or len(value) < _SHORTEST_BASE64:
        return False
    return (value.startswith(_BEGINNINGS) or len(value) > _LONGEST_NAME) and _BASE64.fullmatch(value) is not None
