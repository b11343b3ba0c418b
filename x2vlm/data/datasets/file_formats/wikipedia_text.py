"""Articles of Wikipedia as people have them: what WikiExtractor wrote (text or JSON), or parquet files."""

import re
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from x2vlm.data.datasets.numbered_adapter import NumberedAdapter, checked_buffer
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import json_lines
from x2vlm.data.io.paths import existing_files
from x2vlm.data.io.row_readers.parquet_rows import GroupCache, ParquetRows
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

_HEAD = re.compile(r'<doc id="([^"]*)".*? title="(.*?)"(?: nonfiltered="[^"]*" processed="[^"]*" dbindex="[^"]*")?>')
_COLUMNS = ("id", "title", "text")


class _Article(NamedTuple):
    """Place, identity, title and text of an article."""

    where: str
    id: Any
    title: Any
    text: Any


@DATASETS.register_module()
class WikipediaText(NumberedAdapter):
    """Articles with their paragraphs, of which a pipeline draws one each time (``PickText``).

    Headings and lists are short, and are left out by ``min_chars``, which counts characters because Chinese and
    Japanese have no blanks between words. The identity is the article's number; ``extras`` has its ``title``. Extracted
    text without a paragraph (redirects) is no record.

    Args:
        files: What WikiExtractor wrote (``"extracted/*/wiki_*"``: text between ``<doc ...>`` and ``</doc>``, or with
            ``--json`` an object a line), or parquet files with the columns ``id``, ``title`` and ``text`` (needs
            ``pyarrow``): a file, a pattern, or several of either.
        min_chars: Shorter paragraphs are left out.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`; of articles.
        shuffle_buffer: Articles that a worker mixes and keeps in memory while it reads parquet files a group of rows
            at a time, as :class:`~x2vlm.data.datasets.file_formats.hf_dataset.HFDataset` does; None draws articles from
            anywhere, and an article of a parquet file then costs its whole group.

    Raises:
        FileNotFoundError: If no file fits.
        ValueError: If a file is none of these, or there is no article.
    """

    paths = ("files",)

    def __init__(
        self,
        files: str | PathLike | Sequence[str | PathLike],
        min_chars: int = 20,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
        shuffle_buffer: int | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        if min_chars < 1:
            raise ValueError(f"min_chars is {min_chars}; expected 1 or more")
        self.min_chars = min_chars
        self.shuffle_buffer, cache = checked_buffer(shuffle_buffer), GroupCache()
        found = existing_files(files, "files")
        self.sources = [_opened(file, min_chars, self.limits.max_bytes, cache) for file in found]
        self._ends = np.cumsum([len(source) for source in self.sources])
        if not self._ends[-1]:
            raise ValueError(f"files: {files} has no article with a paragraph of {min_chars} characters (min_chars)")
        run_lengths = [source.run_lengths for source in self.sources]
        cache.keep_buffer(shuffle_buffer, run_lengths)
        lengths = np.concatenate(run_lengths)
        self._take(int(self._ends[-1]), subset, np.repeat(np.arange(len(lengths)), lengths) if shuffle_buffer else None)

    def _record(self, number: int) -> Record:
        source = int(np.searchsorted(self._ends, number, side="right"))
        article = self.sources[source].read(number - (int(self._ends[source - 1]) if source else 0))
        if not isinstance(article.text, str):
            raise RecordError(article.where, f"text: expected a text, got {article.text!r:.60}")
        paragraphs = [line for line in map(str.strip, article.text.splitlines()) if len(line) >= self.min_chars]
        if not paragraphs:
            raise RecordError(article.where, f"no paragraph has {self.min_chars} characters (min_chars)")
        identity = article.where if article.id is None else str(article.id)
        return {"where": article.where, "id": identity, "text": paragraphs, "extras": {"title": article.title}}


def _opened(
    path: Path, min_chars: int, max_bytes: int, cache: GroupCache
) -> "_ExtractedText | _JsonArticles | _ParquetArticles":
    if path.suffix == ".parquet":
        return _ParquetArticles(path, cache)
    with open(path, "rb") as file:
        first = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if first.startswith((b"{", b"[")):
        return _JsonArticles(path, max_bytes)
    return _ExtractedText(path, min_chars, max_bytes)


class _ExtractedText:
    """Articles between ``<doc ...>`` and ``</doc>``; an article that does not end is a bad record."""

    def __init__(self, path: Path, min_chars: int, max_bytes: int) -> None:
        self.path, self.max_bytes = path, max_bytes
        spans = [span for span, has_text in _articles(path, min_chars) if has_text]
        #: ``[n, 3]``: first byte, byte behind the last, and the line (from 1) of each article.
        self.spans = np.array(spans, dtype=np.int64).reshape(-1, 3)
        self.run_lengths = np.ones(len(spans), dtype=np.int64)  # each can be read by itself

    def __len__(self) -> int:
        return len(self.spans)

    def read(self, row: int) -> _Article:
        start, stop, line = self.spans[row].tolist()
        where = f"{self.path.parent.name}/{self.path.name}:{line}"
        if stop - start > self.max_bytes:
            raise RecordError(where, f"is longer than the limit of {self.max_bytes:,} bytes (limits.max_bytes)")
        with open(self.path, "rb") as file:
            file.seek(start)
            data = file.read(stop - start)
        try:
            head, _, text = data.decode("utf-8").partition("\n")
        except UnicodeDecodeError as error:
            raise RecordError(where, f"not UTF-8: {error}") from error
        body, end, _ = text.rpartition("</doc>")
        found = _HEAD.match(head)
        if not end or found is None:
            raise RecordError(where, f"expected <doc id=... title=...>, paragraphs and </doc>, got {head!r:.80} ...")
        return _Article(where, found[1], found[2], body)


def _articles(path: Path, min_chars: int) -> Iterator[tuple[tuple[int, int, int], bool]]:
    """First byte, end and line of each article, and whether a line of it may be a paragraph."""
    start, position, at, has_text = -1, 0, 0, False
    with open(path, "rb") as file:
        for line, data in enumerate(file, start=1):
            if data.startswith(b"<doc ") and start >= 0:  # the one before does not end: reported when it is read
                yield (start, position, at), True
                start = -1
            if data.startswith(b"<doc "):
                start, at, has_text = position, line, False
            elif start >= 0:
                has_text = has_text or len(data.strip()) >= min_chars
            position += len(data)
            if start >= 0 and data.rstrip().endswith(b"</doc>"):
                yield (start, position, at), has_text
                start = -1
    if start >= 0:
        yield (start, position, at), True


class _JsonArticles:
    """Articles as objects with ``id``, ``title`` and ``text``."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.lines = json_lines([path], "files", max_bytes)
        self.run_lengths = np.ones(len(self.lines), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.lines)

    def read(self, row: int) -> _Article:
        entry = self.lines.json(row)
        return _Article(self.lines.where(row), *(entry.get(name) for name in _COLUMNS))


class _ParquetArticles:
    """Articles as rows with ``id``, ``title`` and ``text``."""

    def __init__(self, path: Path, cache: GroupCache) -> None:
        self.rows = ParquetRows(path, _COLUMNS, cache)
        self.run_lengths = self.rows.run_lengths

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, row: int) -> _Article:
        cells = self.rows.read(row)
        return _Article(f"{self.rows.path.name}[{row}]", *(cells[name] for name in _COLUMNS))
