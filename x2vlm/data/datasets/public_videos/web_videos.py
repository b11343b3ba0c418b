"""Videos of the web: WebVid's CSV files, and the spoken captions of HowTo100M and YT-Temporal with their segments."""

import csv
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import list_field, number_field, text_field
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex, json_lines
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.io.row_readers.json_entries import JsonEntries
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

COLUMNS = ("videoid", "page_dir", "name")


@DATASETS.register_module()
class WebVid(NumberedAdapter):
    """Stock videos with the one line that describes each.

    Args:
        ann_file: ``results_2M_train.csv``, ...: a file, a pattern, or several of either.
        video_root: The folder of the videos: ``PAGE_DIR/VIDEOID.mp4``, as published downloaders leave them.
        flat: All videos lie in ``video_root`` itself.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If a file has no such columns, or no row.
    """

    paths = ("ann_file", "video_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        video_root: str | PathLike,
        flat: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.files = existing_files(ann_file, "ann_file")
        self.video_root, self.flat = existing_folder(video_root, "video_root"), flat
        self.lines = LineIndex(self.files, max_bytes=self.limits.max_bytes)
        files = [self.lines.file(row) for row in range(len(self.lines))]
        headings = {row: self._headings(row) for row, file in enumerate(files) if row == 0 or file != files[row - 1]}
        self.columns = {files[row]: names for row, names in headings.items()}
        self.rows = [row for row in range(len(self.lines)) if row not in headings]
        if not self.rows:
            raise ValueError(f"ann_file: {self.files[0]} has no row")
        self._take(len(self.rows), subset)

    def _headings(self, row: int) -> list[str]:
        try:
            names = next(csv.reader([self.lines.text(row)]), [])
        except RecordError as error:
            raise ValueError(f"ann_file: {error}") from error
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise ValueError(f"ann_file: {self.lines.file(row)} has no column {', '.join(missing)}; it has {names}")
        return names

    def _record(self, number: int) -> Record:
        row = self.rows[number]
        where, names = self.lines.where(row), self.columns[self.lines.file(row)]
        try:
            cells = dict(zip(names, next(csv.reader([self.lines.text(row)], strict=True)), strict=True))
        except (csv.Error, ValueError, StopIteration) as error:
            raise RecordError(where, f"expected the columns {', '.join(names)}: {error}") from error
        video = cells["videoid"]
        path = f"{video}.mp4" if self.flat else f"{cells['page_dir']}/{video}.mp4"
        return {
            "where": where,
            "id": video,
            "video": path_inside(self.video_root, path, where),
            "caption": cells["name"],
            "extras": {},
        }


@DATASETS.register_module()
class HowTo100M(NumberedAdapter):
    """Instruction videos with what is said in each segment: ``clips`` of one video, which ``SampleFrames`` joins.

    Args:
        captions_file: ``caption.json``, an object from the video to lists ``start``, ``end`` (seconds) and ``text``.
        video_root: The folder of the videos.
        file_pattern: What makes a path of the name of a video.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("captions_file", "video_root")

    def __init__(
        self,
        captions_file: str | PathLike,
        video_root: str | PathLike,
        file_pattern: str = "{}.mp4",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.video_root, self.names = existing_folder(video_root, "video_root"), FileNames(file_pattern)
        self.entries = JsonEntries(captions_file, "captions_file", max_bytes=self.limits.max_bytes)
        if self.entries.names is None:
            raise ValueError(f"captions_file: {captions_file} is an array; expected an object from video to captions")
        self._take(len(self.entries), subset)

    def _record(self, number: int) -> Record:
        where, entry, video = self.entries.where(number), self.entries.read(number), self.entries.names[number]
        path = path_inside(self.video_root, self.names(video, where), where)
        lists = [list_field(entry, key, where) for key in ("start", "end", "text")]
        if len({*map(len, lists)}) > 1 or not lists[0]:
            raise RecordError(where, f"start, end and text have {', '.join(str(len(one)) for one in lists)} entries")
        rows = [dict(zip(("start", "end", "text"), row, strict=True)) for row in zip(*lists, strict=True)]
        return {"where": where, "id": video, "clips": [_segment(row, path, where) for row in rows], "extras": {}}


@DATASETS.register_module()
class YtTemporal(NumberedAdapter):
    """YT-Temporal: a video a line, with its words and when each is said, cut into segments of some seconds.

    Args:
        ann_file: ``yttemporal180m_000of100.jsonl``, ...: a file, a pattern, or several of either. A line has
            ``video_id`` (or ``info.id``) and ``subtitles``: ``word`` and ``time`` in seconds each.
        video_root: The folder of the videos.
        seconds: Length of a segment.
        file_pattern: What makes a path of the name of a video.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("ann_file", "video_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        video_root: str | PathLike,
        seconds: float = 5.0,
        file_pattern: str = "{}.mp4",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if not seconds > 0:
            raise ValueError(f"seconds is {seconds}; expected the length of a segment, more than 0")
        self.video_root, self.names = existing_folder(video_root, "video_root"), FileNames(file_pattern)
        self.lines = json_lines(existing_files(ann_file, "ann_file"), "ann_file", self.limits.max_bytes)
        self.seconds = seconds
        self._take(len(self.lines), subset)

    def _record(self, number: int) -> Record:
        where, line = self.lines.where(number), self.lines.json(number)
        info = line.get("info")
        video = text_field(info if "video_id" not in line and isinstance(info, dict) else line, *_key(line), where)
        path = path_inside(self.video_root, self.names(video, where), where)
        words = [(number_field(one, "time", where), text_field(one, "word", where)) for one in _subtitles(line, where)]
        segments: dict[int, list[str]] = {}
        for time, word in sorted(words, key=lambda pair: pair[0]):
            segments.setdefault(int(time // self.seconds), []).append(word)
        rows = [
            {"start": slot * self.seconds, "end": (slot + 1) * self.seconds, "text": " ".join(said)}
            for slot, said in segments.items()
        ]
        return {"where": where, "id": video, "clips": [_segment(row, path, where) for row in rows], "extras": {}}


def _key(line: Mapping[str, Any]) -> tuple[str]:
    return ("video_id",) if "video_id" in line or not isinstance(line.get("info"), dict) else ("id",)


def _subtitles(line: Mapping[str, Any], where: str) -> list[Any]:
    found = list_field(line, "subtitles", where)
    if not found:
        raise RecordError(where, "has no subtitles: nothing is said")
    return found


def _segment(row: Mapping[str, Any], path: Any, where: str) -> dict[str, Any]:
    start, end = number_field(row, "start", where), number_field(row, "end", where)
    if not 0 <= start < end:
        raise RecordError(where, f"a segment from {start:g} to {end:g} seconds is none")
    return {"video": path, "segment": (start, end), "caption": text_field(row, "text", where)}
