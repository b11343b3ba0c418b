"""Lists of addresses with captions (CC3M, CC12M, SBU) beside a folder or a tar file of what could be downloaded."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from x2vlm.building import suggestion
from x2vlm.data.datasets.numbered_adapter import NumberedAdapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.entry_fields import url_parts
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex
from x2vlm.data.io.paths import FileNames, existing_files, path_inside
from x2vlm.data.io.row_readers.json_entries import member
from x2vlm.data.io.tar_index import TarIndex
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

ORDERS = ("caption url", "url caption")

NAMES: dict[str, Callable[[int, str], str]] = {
    "row": lambda row, url: str(row),
    "url": lambda row, url: url_parts(url, 1),
    "url_md5": lambda row, url: hashlib.md5(url.encode(), usedforsecurity=False).hexdigest(),
    "url_sha1": lambda row, url: hashlib.sha1(url.encode(), usedforsecurity=False).hexdigest(),
}
"""What downloaders call a file: the number of its row from 0, the end of its address, or a hash of that."""


@DATASETS.register_module()
class WebCaptions(NumberedAdapter):
    """Images of the web with the caption beside their address; rows that were not downloaded are left out and counted.

    The identity is the address.

    Args:
        ann_file: ``Train_GCC-training.tsv`` (caption, address), ``cc12m.tsv`` (address, caption), or SBU's
            ``sbu-captions-all.json``: a file, a pattern, or several of either; rows are numbered through.
        downloads: The folder or the (uncompressed) tar file of the images.
        order: ``"caption url"`` or ``"url caption"``; of no meaning for JSON.
        names: What a file is called after: ``"row"``, ``"url"``, ``"url_md5"`` or ``"url_sha1"``.
        file_pattern: What makes a path of that name, e.g. ``"{:09d}.jpg"``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`; of what is there.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        FileNotFoundError: If a file or the downloads are not there.
        ValueError: If an option has no meaning, or not one image of the list is among the downloads.
    """

    paths = ("ann_file", "downloads")
    # Rows, of which fewer can be downloaded. CC3M: the dataset's page; SBU: the title of Ordonez et al., NIPS 2011.
    published = {  # noqa: RUF012  (never changed)
        **{"Train_GCC-training": 3_318_333, "Validation_GCC-1.1.0-Validation": 15_840, "sbu-captions-all": 1_000_000},
    }

    def __init__(
        self,
        ann_file: str | PathLike | Sequence[str | PathLike],
        downloads: str | PathLike,
        order: str = "caption url",
        names: str = "row",
        file_pattern: str = "{:09d}.jpg",
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        for option, value, known in (("order", order, ORDERS), ("names", names, NAMES)):
            if value not in known:
                raise ValueError(f"{option} is {value!r}.{suggestion(value, known)} Accepted: {', '.join(known)}.")
        self.order, self.called, self.file_names = order, names, FileNames(file_pattern)
        files = existing_files(ann_file, "ann_file")
        self.pairs = _JsonPairs(files[0]) if files[0].suffix == ".json" else None
        self.lines = None if self.pairs else LineIndex(files, max_bytes=self.limits.max_bytes)
        self.folder = Path(downloads).expanduser()
        self.tar = None
        if not self.folder.is_dir():
            self.tar = TarIndex(*existing_files(downloads, "downloads"), max_bytes=self.limits.max_bytes)
        self.split_name = files[0].stem if len(files) == 1 else None
        self.total = len(self.pairs or self.lines)
        there = self._there()
        self.rows = [row for row in range(self.total) if self._is_there(row, there)]
        if not self.rows:
            wanted = self._example()
            raise ValueError(f"downloads: {downloads} has no image of {files[0]}; looked for {wanted!r} and so on")
        lost = self.total - len(self.rows)
        if lost:
            message = f"{files[0].name}: {lost:,} of {self.total:,} rows were not downloaded and are left out"
            print_log(message, logger="current", level=logging.WARNING)
        self._take(len(self.rows), subset)

    def _record(self, number: int) -> Record:
        row = self.rows[number]
        where = self._where(row)
        caption, url = self._pair(row)
        name = self._file(row, url)
        image = self.tar.read(name, where) if self.tar else path_inside(self.folder, name, where)
        return {"where": where, "id": url, "image": image, "caption": caption, "extras": {}}

    def _file(self, row: int, url: str) -> str:
        return self.file_names(NAMES[self.called](row, url), self._where(row))

    def _where(self, row: int) -> str:
        return self.pairs.where(row) if self.pairs else self.lines.where(row)

    def _pair(self, row: int) -> tuple[str, str]:
        if self.pairs:
            return self.pairs.read(row)
        cells = self.lines.text(row).split("\t")
        if len(cells) < 2 or not all(cells[:2]):
            raise RecordError(
                self._where(row), f"expected {self.order.replace(' ', ', a tab and ')}, got {cells!r:.80}"
            )
        return (cells[0], cells[1]) if self.order == ORDERS[0] else (cells[1], cells[0])

    def _there(self) -> set[str]:
        if self.tar:
            return {self.tar.name(position) for position in range(len(self.tar))}
        return {path.relative_to(self.folder).as_posix() for path in _files(self.folder)}

    def _is_there(self, row: int, there: set[str]) -> bool:
        try:
            return self._file(row, self._pair(row)[1]) in there
        except RecordError:
            return True  # a broken row is reported when it is read

    def _example(self) -> str:
        return self._file(0, self._pair(0)[1])


class _JsonPairs:
    """``{"image_urls": [...], "captions": [...]}``, as SBU is published."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.urls, self.captions = (member(path, "ann_file", key) for key in ("image_urls", "captions"))
        if not isinstance(self.urls, list) or not isinstance(self.captions, list):
            raise ValueError(f"ann_file: {path} lacks the lists image_urls and captions")
        if len(self.urls) != len(self.captions):
            raise ValueError(f"ann_file: {path} has {len(self.urls)} image_urls and {len(self.captions)} captions")

    def __len__(self) -> int:
        return len(self.urls)

    def where(self, row: int) -> str:
        return f"{self.path.name}[{row}]"

    def read(self, row: int) -> tuple[str, str]:
        caption, url = self.captions[row], self.urls[row]
        if not isinstance(caption, str) or not isinstance(url, str):
            raise RecordError(
                self.where(row), f"expected a caption and an address, got {caption!r:.40} and {url!r:.40}"
            )
        return caption.strip(), url


def _files(folder: Path) -> Iterator[Any]:
    return (path for path in folder.rglob("*") if path.is_file())
