"""Tar files in WebDataset layout: neighbouring members that share the name up to the first dot are one record."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import Keys, first_value, read_captions, read_elements
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import existing_files
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "avif", "bmp", "tif", "tiff")
VIDEO_SUFFIXES = ("mp4", "webm", "mkv", "avi", "mov", "m4v", "gif")


@DATASETS.register_module()
class WebDataset(Adapter):
    """Tar files in WebDataset layout: neighbouring members ``<key>.jpg``, ``<key>.txt``, ``<key>.json`` are one record.

    The key ends at the first dot after the last slash. Members that end as images do are the image, those that end as
    videos do the video (a gif is one). The identity is the key. A tar file that ends early has one record more, a bad
    one, for what is lost.

    Args:
        shards: Tar files: a file, a pattern such as ``"train-*.tar"``, or several of either.
        captions: The captions: a suffix (``"txt"``), a key inside a JSON member (``"json.captions"``), or a
            dict from language to either.
        elems: The elements, e.g. ``"json.elems"``; None for none.
        index_dir: A folder that caches the offsets of the members for the next run; None scans the tar files each time.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("shards",)

    def __init__(
        self,
        shards: str | PathLike | Sequence[str | PathLike],
        captions: Keys | Mapping[str, Keys] = "txt",
        elems: Keys = None,
        index_dir: str | PathLike | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.captions = captions
        self.elems = elems
        self.tars = [TarIndex(path, index_dir, self.limits.max_bytes) for path in existing_files(shards, "shards")]
        for tar in self.tars:
            if tar.problem:  # one that ends early still has records; the last of them is reported when it is read
                print_log(f"{tar.path}: {tar.problem}", logger="current", level=logging.WARNING)
        self._starts = [_group_starts(tar) for tar in self.tars]
        self._ends = np.cumsum(
            [len(starts) - 1 + bool(tar.problem) for tar, starts in zip(self.tars, self._starts, strict=True)]
        )
        if not any(len(starts) > 1 for starts in self._starts):
            problems = "; ".join(f"{tar.path}: {tar.problem or 'no members'}" for tar in self.tars[:3])
            raise ValueError(f"shards hold no record: {problems}")
        self.indices = Subset.of(subset).indices(int(self._ends[-1]), lambda index: self._group(index)[1])

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, index: int) -> Record:
        """The record of a group of members.

        Raises:
            RecordError: If the tar file ends inside it, it has no image or video, or no text, or its JSON is broken.
        """
        tar, key, members = self._group(int(self.indices[index]))
        where = f"{tar.path.name}:{key}"
        if not members:
            raise RecordError(where, f"{tar.path}: {tar.problem}; what comes after is lost")
        content = {suffix: tar.read_at(position, where) for suffix, position in members.items()}
        parsed = {suffix: _parsed(suffix, data, where) for suffix, data in content.items()}
        record: Record = {"where": where, "id": key, **_media(content, where)}
        caption = read_captions(parsed, self.captions, where)
        elems = first_value(parsed, self.elems)
        if caption is None and elems is None:
            raise RecordError(where, f"no caption under {self.captions!r}, only members {sorted(content)}")
        texts = {} if caption is None else {"caption": caption}
        return {**record, **texts, **({} if elems is None else {"elems": read_elements(elems, where)}), "extras": {}}

    def _group(self, index: int) -> tuple[TarIndex, str, dict[str, int]]:
        """The tar file, the key, and the positions of the members by suffix; none where the file ends early."""
        shard = int(np.searchsorted(self._ends, index, side="right"))
        tar, starts = self.tars[shard], self._starts[shard]
        group = index - (int(self._ends[shard - 1]) if shard else 0)
        if group == len(starts) - 1:
            return tar, f"member {len(tar)}", {}
        positions = range(int(starts[group]), int(starts[group + 1]))
        return tar, _split(tar.name(positions[0]))[0], {_split(tar.name(i))[1]: i for i in positions}


def _group_starts(tar: TarIndex) -> np.ndarray:
    """Where each run of members with one key begins, and the end: ``[records + 1]`` int64."""
    keys = [_split(tar.name(i))[0] for i in range(len(tar))]
    starts = [i for i in range(len(keys)) if i == 0 or keys[i] != keys[i - 1]]
    return np.array([*starts, len(keys)], dtype=np.int64)


def _split(name: str) -> tuple[str, str]:
    """``"a.b/000.seg.png"`` is the key ``"a.b/000"`` and the suffix ``"seg.png"``, in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return folder + slash + stem, suffix.lower()


def _media(content: Mapping[str, bytes], where: str) -> Record:
    for kind, suffixes in (("image", IMAGE_SUFFIXES), ("video", VIDEO_SUFFIXES)):
        for suffix in suffixes:
            if suffix in content:
                return {kind: content[suffix]}
    raise RecordError(where, f"no image and no video, only members {sorted(content)}")


def _parsed(suffix: str, data: bytes, where: str) -> Any:
    """Text of ``txt``-like members, the value of ``json`` members; None for other members."""
    try:
        if suffix.rpartition(".")[2] == "json":
            return json.loads(data)
        return data.decode("utf-8").strip() if suffix.rpartition(".")[2] in ("txt", "text", "caption") else None
    except (ValueError, RecursionError) as error:  # broken JSON, or no UTF-8
        raise RecordError(where, f"member .{suffix}: {error}") from error
