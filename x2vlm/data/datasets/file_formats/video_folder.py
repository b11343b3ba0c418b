"""A folder of video files, with captions from a file or from the file names."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import read_captions
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import existing_file, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

VIDEO_EXTENSIONS = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".gif")


@DATASETS.register_module()
class VideoFolder(Adapter):
    """A folder of video files, those in inner folders included; the identity is the path within the folder.

    Captions come from a file by path, or else from the file names: ``flipping_a_pancake.mkv`` is "flipping a pancake".

    Args:
        root: The folder.
        captions: ``.csv`` with a header and the columns ``file`` and ``caption`` (a file may have several
            lines), ``.json`` with an object from file to caption or list of captions, or ``.jsonl`` with the keys
            ``file`` and ``caption``. Then the records are the files it lists, in its order. None: the file names.
        endings: File extensions of videos, where no captions file lists them.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("root", "captions")

    def __init__(
        self,
        root: str | PathLike,
        captions: str | PathLike | None = None,
        endings: Sequence[str] = VIDEO_EXTENSIONS,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.root = existing_folder(root, "root")
        on_disk = _video_names(self.root, endings)
        by_file = _captions_from_names(on_disk) if captions is None else _captions_from_file(captions)
        if not by_file:
            what = f"ends in {', '.join(endings)}" if captions is None else f"is listed in {captions}"
            raise ValueError(f"VideoFolder: no video of {self.root} {what}")
        uncaptioned = [name for name in on_disk if name not in by_file]
        if uncaptioned:
            print_log(f"{self.root}: {len(uncaptioned)} videos without caption left out", logger="current")
        names = list(by_file)
        self.names = [names[index] for index in Subset.of(subset).indices(len(names), lambda index: names[index])]
        self.captions = {name: by_file[name] for name in self.names}

    def __len__(self) -> int:
        return len(self.names)

    def record(self, index: int) -> Record:
        """The record of a video file.

        Raises:
            RecordError: If the captions file names a video outside ``root``.
        """
        name = self.names[index]
        path = path_inside(self.root, name, name)
        return {"where": name, "id": name, "video": path, "caption": self.captions[name], "extras": {}}


def _video_names(root: Path, extensions: Sequence[str]) -> list[str]:
    extensions = {extension.lower() for extension in extensions}
    files = (path for path in root.rglob("*") if path.suffix.lower() in extensions and path.is_file())
    return sorted(path.relative_to(root).as_posix() for path in files)


def _captions_from_names(names: Sequence[str]) -> dict[str, str]:
    return {name: Path(name).stem.replace("_", " ").replace("-", " ").strip() for name in names}


def _captions_from_file(path: str | PathLike) -> dict[str, Any]:
    path = existing_file(path, "captions")
    readers = {".csv": _from_csv, ".json": _from_json, ".jsonl": _from_jsonl}
    if path.suffix.lower() not in readers:
        raise ValueError(f"captions: {path} ends in {path.suffix!r}; expected one of {', '.join(readers)}")
    collected: dict[str, list[str]] = {}
    try:
        pairs = readers[path.suffix.lower()](path)
    except (RecordError, UnicodeDecodeError, csv.Error, RecursionError) as error:
        raise ValueError(f"captions: {path} is broken: {error}") from error
    for name, caption in pairs:
        collected.setdefault(name, []).extend([caption] if isinstance(caption, str) else caption)
    return {name: texts[0] if len(texts) == 1 else texts for name, texts in collected.items()}


def _from_csv(path: Path) -> list[tuple[str, str]]:
    # What is not UTF-8 is kept by surrogates: in a name they name the file, in a caption they make a bad record.
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        missing = {"file", "caption"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"captions: {path} has the columns {reader.fieldnames}, but needs {sorted(missing)} too")
        return [(row["file"], row["caption"]) for row in reader]


def _from_json(path: Path) -> list[tuple[str, Any]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"captions: {path} is broken: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"captions: {path} needs one object from file to caption, not a {type(value).__name__}")
    return [(name, _texts({"caption": caption}, f"{path}: {name}")) for name, caption in value.items()]


def _from_jsonl(path: Path) -> list[tuple[str, Any]]:
    lines = json_lines([path], "captions")
    parsed = [(lines.json(number), lines.where(number)) for number in range(len(lines))]
    for line, where in parsed:
        if not isinstance(line.get("file"), str):
            raise ValueError(f"captions: {where} has no 'file', only {sorted(line)}")
    return [(line["file"], _texts(line, where)) for line, where in parsed]


def _texts(line: Mapping[str, Any], where: str) -> Any:
    texts = read_captions(line, "caption", where)
    if texts is None or isinstance(texts, dict):
        raise ValueError(f"captions: {where} needs a caption or a list of captions, got {line.get('caption')!r:.80}")
    return texts
