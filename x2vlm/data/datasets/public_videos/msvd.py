"""MSVD as published: ``AllVideoDescriptions.txt``, or the corpus as CSV with the segment of each video."""

import csv
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.public_videos.msrvtt import read_video_list
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.paths import FileNames, existing_file, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

COLUMNS = ("VideoID", "Start", "End", "Description")


@DATASETS.register_module()
class Msvd(NumberedAdapter):
    """Short clips with about forty descriptions each.

    Args:
        captions_file: ``AllVideoDescriptions.txt`` (a name and a description a line), or ``video_corpus.csv``.
        video_root: The folder of the clips, ``mv89psg6zh4_33_46.avi``.
        videos: A text file with the names of a split, one a line; None takes all.
        language: Of the CSV file, descriptions in this language; None takes all.
        captions_apart: Each description is a record; else a record has all of a clip.
        file_pattern: What makes a path of a name.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If the file is of another shape, or no clip is left.
    """

    paths = ("captions_file", "video_root", "videos")
    # The card of VLM2Vec/MSVD, which keeps the official splits. The CSV file, which has no count here, describes more
    # clips (2,089: Chen and Dolan, ACL 2011) than are used.
    published = {"all": 1_970, "train_list": 1_200, "val_list": 100, "test_list": 670}  # noqa: RUF012  (never changed)

    def __init__(
        self,
        captions_file: str | PathLike,
        video_root: str | PathLike,
        videos: str | PathLike | None = None,
        language: str | None = "English",
        captions_apart: bool = False,
        file_pattern: str = "{}.avi",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        path = existing_file(captions_file, "captions_file")
        self.video_root, self.names = existing_folder(video_root, "video_root"), FileNames(file_pattern)
        rows = _from_csv(path, language) if path.suffix.lower() == ".csv" else _from_text(path)
        found: dict[str, list[tuple[str, str]]] = {}
        for where, name, caption in rows:
            found.setdefault(name, []).append((where, caption))
        chosen = list(found) if videos is None else read_video_list(videos, "videos")[0]
        self.captions_apart = captions_apart
        self.rows = [
            (name, pairs)
            for name in chosen
            for pairs in ([[pair] for pair in found.get(name, [])] if captions_apart else [found.get(name, [])])
        ]
        if not any(pairs for _, pairs in self.rows):
            raise ValueError(f"captions_file: {path} describes none of the clips that are asked for")
        if not captions_apart and videos is not None:
            self.split_name = existing_file(videos, "videos").stem
        elif not captions_apart and path.suffix.lower() != ".csv":
            self.split_name = "all"
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        name, pairs = self.rows[number]
        if not pairs:
            raise RecordError(name, "no line describes this clip")
        captions = [caption for _, caption in pairs]
        return {
            "where": pairs[0][0],
            "id": name,
            "video": path_inside(self.video_root, self.names(name, pairs[0][0]), pairs[0][0]),
            "caption": captions[0] if self.captions_apart else captions,
            "extras": {},
        }


def _from_text(path: Path) -> Iterator[tuple[str, str, str]]:
    """Place, name of the clip and description of each line."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
        name, _, caption = line.strip().partition(" ")
        if name and not line.startswith("#"):
            yield f"{path.name}:{number}", name, caption.strip()


def _from_csv(path: Path, language: str | None) -> Iterator[tuple[str, str, str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"captions_file: {path} has no column {', '.join(missing)}; it has {reader.fieldnames}")
        for row in reader:
            if language in (None, row.get("Language")):
                name = f"{row['VideoID']}_{row['Start']}_{row['End']}"
                yield f"{path.name}:{reader.line_num}", name, (row["Description"] or "").strip()
