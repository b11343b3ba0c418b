"""WIT (arXiv:2103.01913) as published: TSV files of images of Wikipedia and the texts beside them, and downloads."""

import logging
from collections.abc import Callable, Sequence
from os import PathLike

import numpy as np
from mmengine.logging import print_log

from x2vlm.argument_checks import suggestion
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.public_captions.web_captions import NAMES
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.io.paths import FileNames, existing_files, existing_folder, path_inside
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

CAPTIONS = ("caption_reference_description", "caption_attribution_description", "caption_alt_text_description")
NEEDED = ("language", "image_url")


@DATASETS.register_module()
class Wit(NumberedAdapter):
    """Images of Wikipedia with their captions, by language; rows without caption or download are left out and counted.

    The identity is the address of the image, which several languages share. ``extras`` has ``language``.

    Args:
        ann_file: ``wit_v1.train.all-*.tsv``, unpacked: a file, a pattern, or several of either.
        image_root: The folder of the downloaded images.
        names: What a file is called after: ``"url"`` (the end of the address), ``"url_md5"`` or ``"url_sha1"``.
        file_pattern: What makes a path of that name.
        languages: Rows of these languages alone; None: of all.
        caption: The column of captions; IGLUE takes the reference description.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`; of what is there.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the folder is not there.
        ValueError: If an option has no meaning, a file has no such columns, or no row is left.
    """

    paths = ("ann_file", "image_root")

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        image_root: str | PathLike,
        names: str = "url",
        file_pattern: str = "{}",
        languages: Sequence[str] | None = None,
        caption: str = CAPTIONS[0],
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        for option, value, known in (
            ("names", names, [name for name in NAMES if name != "row"]),
            ("caption", caption, CAPTIONS),
        ):
            if value not in known:
                raise ValueError(f"{option} is {value!r}.{suggestion(value, known)} Accepted: {', '.join(known)}.")
        self.image_root, self.called, self.file_names = (
            existing_folder(image_root, "image_root"),
            names,
            FileNames(file_pattern),
        )
        self.caption, files = caption, existing_files(ann_file, "ann_file")
        self.lines = LineIndex(files, max_bytes=self.limits.max_bytes)
        self._headings = {file: _headings(file, (*NEEDED, caption)) for file in files}
        self.rows = np.array(self._kept(languages), dtype=np.int64)
        if not len(self.rows):
            raise ValueError(
                f"ann_file: no row of {files[0]} (of {len(files)}) has a caption under {caption!r}, a download in "
                f"{image_root} and a language of {languages or 'any'}"
            )
        self._take(len(self.rows), subset)

    def _kept(self, languages: Sequence[str] | None) -> list[int]:
        there = {path.relative_to(self.image_root).as_posix() for path in self.image_root.rglob("*") if path.is_file()}
        wanted = None if languages is None else {languages} if isinstance(languages, str) else {*languages}
        kept, lost = [], 0
        for row in range(len(self.lines)):
            try:
                cells = self._cells(row)
                if cells is None or (wanted and cells["language"] not in wanted) or not cells[self.caption]:
                    continue
                if self._file(row, cells["image_url"]) not in there:
                    lost += 1
                    continue
            except RecordError:
                pass  # a broken row is reported when it is read
            kept.append(row)
        if lost:
            message = f"{self.lines.files[0].name}: {lost:,} rows with a caption were not downloaded and are left out"
            print_log(message, logger="current", level=logging.WARNING)
        return kept

    def _record(self, number: int) -> Record:
        row = int(self.rows[number])
        where, cells = self.lines.where(row), self._cells(row)
        url, language = cells["image_url"], cells["language"]
        return {
            "where": where,
            "id": url,
            "image": path_inside(self.image_root, self._file(row, url), where),
            "caption": {language: cells[self.caption]},
            "extras": {"language": language},
        }

    def _cells(self, row: int) -> dict[str, str] | None:
        """What is needed of a row, by column; None for the line of headings."""
        headings = self._headings[self.lines.file(row)]
        cells = self.lines.text(row).split("\t")
        if cells == headings:
            return None
        if len(cells) != len(headings):
            raise RecordError(self.lines.where(row), f"has {len(cells)} columns; the first line has {len(headings)}")
        values = {name: _unquoted(cells[headings.index(name)]) for name in (*NEEDED, self.caption)}
        if not values["image_url"]:
            raise RecordError(self.lines.where(row), "has no image_url")
        return values

    def _file(self, row: int, url: str) -> str:
        return self.file_names(NAMES[self.called](row, url), self.lines.where(row))


def _headings(path: PathLike, needed: Sequence[str]) -> list[str]:
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        headings = file.readline().rstrip("\r\n").split("\t")
    missing = [name for name in needed if name not in headings]
    if missing:
        raise ValueError(
            f"ann_file: {path} has no column {missing[0]!r}; its first line has: {', '.join(headings):.300}"
        )
    return headings


def _unquoted(cell: str) -> str:
    """A cell without the quotes round it; two quotes inside stand for one."""
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"'
    return (cell[1:-1].replace('""', '"') if quoted else cell).strip()
