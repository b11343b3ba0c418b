"""Images in tar files with an index of JSON lines: captions, phrases and boxes."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import Keys, read_captions, read_elements
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import existing_files, existing_folder, path_inside
from x2vlm.data.io.phrase_boxes import MULTI_BOX, phrase_elements
from x2vlm.data.io.record_codec import decode_fields, read_extras
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class TarShards(Adapter):
    """A JSON-lines index whose lines name the tar file (``shard``) and the image in it (``member``).

    Where there are ``phrases`` (``text``, and the entity ``ent`` it means) and ``entities`` (``boxes`` by entity id),
    as in Flickr30k Entities, each phrase whose entity has a box becomes an element of kind ``region``. The identity is
    ``key``. Shards of ``make-shards`` are read in full: ``elems``, ``extras``, and under ``fields`` every other field
    of a record, videos and clips included.

    Args:
        ann_file: The index: a file, a pattern, or several of either.
        shard_root: The folder of the tar files; None: the folder of the index.
        captions: The key of the captions, e.g. ``"captions_zh"`` or ``"multi30k.de"``; or a dict from language to key,
            e.g. ``dict(en="captions", de="captions_de")``.
        drop_uncaptioned: Leave records without any such caption out from the start (reads the whole index once) instead
            of reporting each as bad.
        multi_box: The box of a phrase that refers to several things: ``"union"``, ``"first"``, ``"each"`` or
            ``"skip"``; see :func:`~x2vlm.data.io.phrase_boxes.phrase_elements`.
        unique_phrases: Keep one of several equal phrases for the same thing in one image.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("ann_file", "shard_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        shard_root: str | PathLike | None = None,
        captions: Keys | Mapping[str, Keys] = "captions",
        drop_uncaptioned: bool = False,
        multi_box: str = "union",
        unique_phrases: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.lines = json_lines(existing_files(ann_file, "ann_file"), "ann_file", self.limits.max_bytes)
        self.shard_root = None if shard_root is None else existing_folder(shard_root, "shard_root")
        self.captions = captions
        if multi_box not in MULTI_BOX:
            raise ValueError(f"multi_box is {multi_box!r}; expected one of {', '.join(MULTI_BOX)}")
        self.multi_box = multi_box
        self.unique_phrases = unique_phrases
        self.indices = Subset.of(subset).indices(len(self.lines), self._identity)
        if drop_uncaptioned:
            self.indices = self._captioned(self.indices)
        self._tars: dict[str, TarIndex] = {}

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, index: int) -> Record:
        """The record of a line of the index, with the bytes of its image.

        Raises:
            RecordError: If the line is broken, has no caption under ``captions``, or its image is not in its tar file.
        """
        number = int(self.indices[index])
        line, where = self.lines.json(number), self.lines.where(number)
        fields = decode_fields(line, lambda name: self._member(line, number, where, name), where)
        record = {**fields, "where": where, "id": self._identity(number, line)}
        if "member" in line or "fields" not in line:
            record["image"] = self._member(line, number, where, line.get("member"))
        caption = read_captions(line, self.captions, where)
        if caption is None and not line.keys() & {"elems", "fields"}:
            reason = f"no caption under {self.captions!r} (drop_uncaptioned=True leaves such records out)"
            raise RecordError(where, reason)
        if caption is not None:
            record["caption"] = caption
        if "elems" in line:
            record["elems"] = read_elements(line["elems"], where)
        if "phrases" in line:
            phrases, entities = line["phrases"], line.get("entities", {})
            record["elems"] = phrase_elements(phrases, entities, where, self.multi_box, self.unique_phrases)
        return {**record, "extras": read_extras(line, where)}

    def _identity(self, number: int, line: dict | None = None) -> str:
        line = self.lines.json(number) if line is None else line
        return str(line.get("key", self.lines.where(number)))

    def _member(self, line: dict, number: int, where: str, name: str | None) -> bytes:
        if not isinstance(line.get("shard"), str) or not isinstance(name, str):
            reason = f"needs 'shard' and 'member', the tar file and the image in it; has {sorted(line)}"
            raise RecordError(where, reason)
        path = str(path_inside(self.shard_root or self.lines.file(number).parent, line["shard"], where))
        if path not in self._tars:
            self._tars[path] = TarIndex(path, max_bytes=self.limits.max_bytes)
        return self._tars[path].read(name, where)

    def _captioned(self, indices: np.ndarray) -> np.ndarray:
        kept = np.array([self._is_captioned(number) for number in indices.tolist()], dtype=bool)
        if not kept.any():
            raise ValueError(f"captions={self.captions!r}: none of {len(indices)} records has such a caption")
        left_out = len(indices) - int(kept.sum())
        print_log(f"{self.lines.files[0].name}: {left_out} records without caption left out", logger="current")
        return indices[kept]

    def _is_captioned(self, number: int) -> bool:
        try:
            return read_captions(self.lines.json(number), self.captions, "") is not None
        except RecordError:  # a broken line stays, and is reported when it is read
            return True
