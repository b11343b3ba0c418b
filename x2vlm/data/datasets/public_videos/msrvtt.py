"""MSRVTT as published: ``MSRVTT_data.json`` with its sentences, and the lists of the retrieval splits."""

import csv
from collections import defaultdict
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import text_field
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import FileNames, existing_file, existing_folder, path_inside, read_lines
from x2vlm.data.io.row_readers.json_entries import JsonEntries
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS


@DATASETS.register_module()
class MsrVtt(NumberedAdapter):
    """Videos with their twenty sentences.

    Which videos: those of the file's own ``split``, or those of a list: the 9k and 7k training lists and the 1k-A test
    list of retrieval (whose ``sentence`` column is the one caption each is searched by).

    Args:
        ann_file: ``MSRVTT_data.json`` or ``train_val_videodatainfo.json``.
        video_root: The folder of the videos.
        split: ``"train"``, ``"validate"`` or ``"test"``; None takes all, or those of ``videos``.
        videos: A list instead: ``MSRVTT_train.9k.csv``, ``MSRVTT_JSFUSION_test.csv``, or a text file, a name a line.
        captions_apart: Each sentence is a record, as in published training files; else a record has all of a video.
        file_pattern: What makes a path of ``video7``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If a file is of another shape, both ``split`` and ``videos`` are given, or no video is left.
    """

    paths = ("ann_file", "video_root", "videos")
    # Videos. The three splits: Xu et al., CVPR 2016. The lists: JSFusion's 1,000 test videos, the 9,000 others, and
    # train and validate together.
    published = {  # noqa: RUF012  (never changed)
        **{"train": 6_513, "validate": 497, "test": 2_990, "MSRVTT_train.9k": 9_000, "MSRVTT_train.7k": 7_010},
        **{"MSRVTT_JSFUSION_test": 1_000},
    }

    def __init__(
        self,
        ann_file: str | PathLike,
        video_root: str | PathLike,
        split: str | None = None,
        videos: str | PathLike | None = None,
        captions_apart: bool = False,
        file_pattern: str = "{}.mp4",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if split is not None and videos is not None:
            raise ValueError("split and videos both say which videos are taken; give one of them")
        self.video_root, self.names = existing_folder(video_root, "video_root"), FileNames(file_pattern)
        most = self.limits.max_bytes
        entries = JsonEntries(ann_file, "ann_file", "videos", _video_and_split, most)
        self.sentences = JsonEntries(ann_file, "ann_file", "sentences", _video_of, most)
        self.searched_by: dict[str, str] = {}
        if videos is None:
            chosen = [name for name, of in entries.ids if name and split in (None, of)]
            self.split_name = split if not captions_apart else None
        else:
            chosen, self.searched_by = read_video_list(videos, "videos")
            self.split_name = None if captions_apart else existing_file(videos, "videos").stem
        if not chosen:
            there = ", ".join(sorted({of for _, of in entries.ids}))
            raise ValueError(f"split: {ann_file} has no video of {split!r}. It has: {there}.")
        captions: dict[str, list[int]] = defaultdict(list)
        for row, video in enumerate(self.sentences.ids):
            captions[str(video)].append(row)
        self.captions_apart = captions_apart
        self.rows = [
            (video, row)
            for video in chosen
            for row in ([[one] for one in captions[video]] if captions_apart and captions[video] else [captions[video]])
        ]
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        video, rows = self.rows[number]
        where = f"{self.sentences.path.name}:{video}"
        said = [text_field(self.sentences.read(row), "caption", self.sentences.where(row)) for row in rows]
        said = [self.searched_by[video]] if video in self.searched_by else said
        if not said:
            raise RecordError(where, "has no sentence")
        return {
            "where": self.sentences.where(rows[0]) if self.captions_apart and rows else where,
            "id": video,
            "video": path_inside(self.video_root, self.names(video, where), where),
            "caption": said[0] if self.captions_apart else said,
            "extras": {},
        }


def _video_and_split(entry: Any) -> tuple[str, str]:
    entry = entry if isinstance(entry, dict) else {}
    return str(entry.get("video_id", "")), str(entry.get("split", ""))


def _video_of(entry: Any) -> str | None:
    value = entry.get("video_id") if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None


def read_video_list(path: str | PathLike, option: str) -> tuple[list[str], dict[str, str]]:
    """Names of videos from a text file with one a line, or a CSV file with a column ``video_id``.

    Returns:
        The names, and for each the ``sentence`` beside it, where there is such a column.

    Raises:
        FileNotFoundError: If the file is not there.
        ValueError: If it has no such column, or no name.
    """
    path = existing_file(path, option)
    if path.suffix.lower() != ".csv":
        names = read_lines(path, option)
        sentences = {}
    else:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            rows = list(csv.DictReader(file))
        if not rows or "video_id" not in rows[0]:
            raise ValueError(
                f"{option}: {path} has no column 'video_id', only {', '.join(map(str, rows[0])) if rows else 'nothing'}"
            )
        names = list(dict.fromkeys(row["video_id"] for row in rows if row["video_id"]))
        sentences = {row["video_id"]: row["sentence"] for row in rows if row.get("sentence")}
    if not names:
        raise ValueError(f"{option}: {path} names no video")
    return names, sentences


@DATASETS.register_module()
class VideoQuestions(NumberedAdapter):
    """MSRVTT-QA and MSVD-QA as published: arrays of questions with one answer each.

    The identity is that of the video; ``extras["question_id"]`` is ``id``.

    Args:
        ann_file: ``train_qa.json``, ``val_qa.json`` or ``test_qa.json``.
        video_root: The folder of the videos.
        file_pattern: What makes a path of ``video_id``: ``"video{}.mp4"`` for MSRVTT.
        video_map: A text file with a name and a number on each line (``youtube_mapping.txt`` of MSVD), looked up as
            ``vid7`` or ``7`` before the pattern is filled in.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("ann_file", "video_root", "video_map")
    # MSRVTT-QA: papers that use it; together the 243K of Xu et al., ACM Multimedia 2017 (M3IT's card, 149,074 to train
    # and one less in the others, does not add up to that). MSVD-QA: M3IT's card; together the 50,505 of Xu et al.
    published = {  # noqa: RUF012  (never changed)
        **{"MSRVTT train_qa": 158_581, "MSRVTT val_qa": 12_278, "MSRVTT test_qa": 72_821},
        **{"MSVD train_qa": 30_933, "MSVD val_qa": 6_415, "MSVD test_qa": 13_157},
    }

    def __init__(
        self,
        ann_file: str | PathLike,
        video_root: str | PathLike,
        file_pattern: str = "video{}.mp4",
        video_map: str | PathLike | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.video_root, self.names = existing_folder(video_root, "video_root"), FileNames(file_pattern)
        self.map = None if video_map is None else _numbers_to_names(existing_file(video_map, "video_map"))
        self.entries = JsonEntries(ann_file, "ann_file", max_bytes=self.limits.max_bytes)
        if video_map is not None:
            self.split_name = f"MSVD {self.entries.path.stem}"
        elif file_pattern == "video{}.mp4":  # both name their files alike; other videos are not MSRVTT's
            self.split_name = f"MSRVTT {self.entries.path.stem}"
        self._take(len(self.entries), subset)

    def _record(self, number: int) -> Record:
        where, entry = self.entries.where(number), self.entries.read(number)
        video = str(entry.get("video_id", entry.get("video", "")))
        if self.map is not None:
            if video.removeprefix("vid") not in self.map:
                raise RecordError(where, f"video_map has no video {video!r:.40}")
            video = self.map[video.removeprefix("vid")]
        return {
            "where": where,
            "id": video,
            "video": path_inside(self.video_root, self.names(video, where), where),
            "question": text_field(entry, "question", where),
            "answers": [text_field(entry, "answer", where)],
            "extras": {"question_id": entry.get("id", where)},
        }


def _numbers_to_names(path: Any) -> dict[str, str]:
    pairs = [line.split() for line in read_lines(path, "video_map")]
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise ValueError(f"video_map: {path}: expected a name and a number on each line")
    return {number.removeprefix("vid"): name for name, number in pairs}
