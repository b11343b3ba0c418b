"""Captions as lines ``name#number<TAB>caption``: Flickr8K, Flickr30K, Flickr8K-CN, COCO-CN."""

import re
from collections.abc import Callable, Sequence
from os import PathLike
from typing import NamedTuple

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.io.paths import FileNames, existing_file, existing_files, existing_folder, path_inside, read_lines
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

_COCO = re.compile(r"COCO_(\w+)_(\d{12})")


@DATASETS.register_module()
class CaptionLines(NumberedAdapter):
    """Images with all captions that the lines of one file, or several, give them.

    The identity is the name before ``#`` without its ending; that of an image of COCO is COCO's number, as in
    :class:`~x2vlm.data.datasets.public_captions.karpathy.KarpathySplit`. Images of COCO may lie in the folder that
    their name says (``train2014``). A line without a tab, or without a caption behind it, is a bad record.

    Args:
        captions_file: ``Flickr8k.token.txt``, ``results_20130124.token``, ``flickr8kzhc.caption.txt``,
            ``imageid.human-written-caption.txt``, ...: a file, a pattern, or several of either.
        image_root: The folder of the images.
        images_file: A list of the images of a split, a name a line: ``Flickr_8k.trainImages.txt``,
            ``coco-cn_train.txt``, ... None: all that have captions. One without a caption is a bad record.
        file_pattern: What makes a file of a name without its ending.
        captions_apart: Each caption is a record, as in published training files; else a record has all of an image.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If there is no line.
    """

    paths = ("captions_file", "image_root", "images_file")
    # Images. Flickr8K: the card of jxie/flickr8k; COCO-CN: its README (version 201805).
    published = {  # noqa: RUF012  (never changed)
        **{"Flickr_8k.trainImages": 6_000, "Flickr_8k.devImages": 1_000, "Flickr_8k.testImages": 1_000},
        **{"coco-cn_train": 18_341, "coco-cn_val": 1_000, "coco-cn_test": 1_000},
    }

    def __init__(
        self,
        captions_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike,
        images_file: str | PathLike | None = None,
        file_pattern: str = "{}.jpg",
        captions_apart: bool = False,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        self.image_root, self.files = existing_folder(image_root, "image_root"), FileNames(file_pattern)
        self.lines = LineIndex(existing_files(captions_file, "captions_file"), max_bytes=self.limits.max_bytes)
        lines_of, broken = self._by_name()
        names, self._list = list(lines_of), None
        if images_file is not None:
            self._list = existing_file(images_file, "images_file")
            names = [_stem(line) for line in read_lines(self._list, "images_file")]
            self.split_name = None if captions_apart else self._list.stem
        rows = [_Row(name, tuple(lines_of.get(name, ()))) for name in names]
        if captions_apart:
            rows = [_Row(row.name, (line,)) for row in rows for line in row.lines] + [r for r in rows if not r.lines]
        self.rows = rows + [_Row("", (line,)) for line in broken]
        self.captions_apart = captions_apart
        if not self.rows:
            raise ValueError(f"captions_file: {captions_file} has no line; expected name#number, a tab and a caption")
        self._take(len(self.rows), subset)

    def _by_name(self) -> tuple[dict[str, list[int]], list[int]]:
        """The numbers of the lines of each image, and of lines that name none."""
        lines_of: dict[str, list[int]] = {}
        broken = []
        for number in range(len(self.lines)):
            try:
                name, caption = _split(self.lines.text(number))
            except RecordError:
                name, caption = "", ""
            lines_of.setdefault(name, []).append(number) if name and caption else broken.append(number)
        return lines_of, broken

    def _record(self, number: int) -> Record:
        name, lines = self.rows[number]
        if not lines:
            where = f"{self._list.name}:{name:.80}"
            raise RecordError(where, f"no line of {self.lines.files[0].name} describes this image of the list")
        where = self.lines.where(lines[0])
        pairs = [_split(self.lines.text(line)) for line in lines]
        if not name:
            raise RecordError(
                where, f"expected name#number, a tab and a caption, got {self.lines.text(lines[0])!r:.80}"
            )
        captions = [caption for _, caption in pairs]
        coco = _COCO.fullmatch(name)
        return {
            "where": where,
            "id": str(int(coco[2])) if coco else name,
            "image": path_inside(self.image_root, self._file(name, coco, where), where),
            "caption": captions[0] if self.captions_apart else captions,
            "extras": {},
        }

    def _file(self, name: str, coco: "re.Match | None", where: str) -> str:
        file = self.files(name, where)
        inner = f"{coco[1]}/{file}" if coco else file
        return inner if coco and (self.image_root / coco[1]).is_dir() else file


class _Row(NamedTuple):
    """The name of an image (empty: a line that names none) and the numbers of the lines with its captions."""

    name: str
    lines: tuple[int, ...]


def _split(line: str) -> tuple[str, str]:
    """Name without ending, and caption; empty where the line has none."""
    name, _, caption = line.partition("\t")
    return _stem(name), caption.strip()


def _stem(name: str) -> str:
    stem, dot, ending = name.partition("#")[0].strip().rpartition(".")
    return stem if dot and ending.lower() in ("jpg", "jpeg", "png") else f"{stem}{dot}{ending}"
