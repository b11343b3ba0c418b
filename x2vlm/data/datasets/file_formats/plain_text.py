"""Text without images: plain text, and parallel text in several languages."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path

from x2vlm.data.datasets.base import Adapter
from x2vlm.data.datasets.subset import Subset
from x2vlm.data.io.annotations import Keys, first_value
from x2vlm.data.io.limits import RecordLimits
from x2vlm.data.io.line_index import LineIndex, json_lines
from x2vlm.data.io.paths import existing_files
from x2vlm.data.record import Record, RecordError
from x2vlm.registry import DATASETS

Files = str | PathLike | Sequence[str | PathLike]


@DATASETS.register_module()
class PlainText(Adapter):
    """One sentence a line; blank lines are left out. The identity is ``where`` (``file:line``).

    Args:
        files: A file, a pattern, or several of either.
        key: The key of the sentence, if the lines are JSON objects (dots separate keys of nested objects); None for
            bare text.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.
    """

    paths = ("files",)

    def __init__(
        self,
        files: Files,
        key: Keys = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        paths = existing_files(files, "files")
        self.key = key
        self.lines = (
            LineIndex(paths, max_bytes=self.limits.max_bytes)
            if key is None
            else json_lines(paths, "files", self.limits.max_bytes)
        )
        self.indices = Subset.of(subset).indices(len(self.lines), self.lines.where)

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, index: int) -> Record:
        """The record of a line.

        Raises:
            RecordError: If the line is broken or has no text.
        """
        number = int(self.indices[index])
        where = self.lines.where(number)
        text = self.lines.text(number) if self.key is None else first_value(self.lines.json(number), self.key)
        if not isinstance(text, str):
            raise RecordError(where, f"expected a text under {self.key!r}, got {text!r:.80}")
        return {"where": where, "id": where, "text": text, "extras": {}}


@DATASETS.register_module()
class ParallelText(Adapter):
    """The same sentence in several languages: files whose lines belong together, or JSON lines that hold all.

    The identity is ``where`` (``file:line``).

    Args:
        files: By language, files with one sentence a line, e.g. ``dict(en="train.en", de="train.de")``; line ``n`` of
            all belongs together. With ``keys``: files of JSON lines.
        keys: By language, the key of its sentence in a JSON line, e.g. ``dict(en="source_text", de="target_text")``.
        pipeline: Transforms.
        subset: ``dict(start, stop, exclude_ids)``, see :class:`~x2vlm.data.datasets.subset.Subset`.
        limits: ``dict(max_bytes, max_chars, max_elems)``, see :class:`~x2vlm.data.io.limits.RecordLimits`.

    Raises:
        ValueError: If fewer than two languages are given, or files of different languages differ in their lines.
    """

    paths = ("files",)

    def __init__(
        self,
        files: Files | Mapping[str, Files],
        keys: Mapping[str, Keys] | None = None,
        pipeline: Sequence[dict | Callable] = (),
        subset: dict | Subset | None = None,
        limits: dict | RecordLimits | None = None,
    ) -> None:
        super().__init__(pipeline, limits)
        languages = files if keys is None else keys
        if not isinstance(languages, Mapping) or len(languages) < 2 or (keys and isinstance(files, Mapping)):
            raise ValueError(
                "ParallelText needs at least two languages: files=dict(en='a.en', de='a.de'), or "
                "files='a.jsonl' with keys=dict(en='source_text', de='target_text')"
            )
        self.keys = keys
        if keys is None:
            by_language = {name: existing_files(names, f"files.{name}") for name, names in files.items()}
            self.lines = {
                name: LineIndex(paths, skip_blank=False, max_bytes=self.limits.max_bytes)
                for name, paths in by_language.items()
            }
            _check_same_length(self.lines)
        else:
            index = json_lines(existing_files(files, "files"), "files", self.limits.max_bytes)
            self.lines = dict.fromkeys(keys, index)
        self._first = next(iter(self.lines.values()))
        self.indices = Subset.of(subset).indices(len(self._first), self._first.where)

    def __len__(self) -> int:
        return len(self.indices)

    def record(self, index: int) -> Record:
        """The record of a line.

        Raises:
            RecordError: If the line is broken, or has text in fewer than two languages.
        """
        number = int(self.indices[index])
        where = self._first.where(number)
        if self.keys is None:
            texts = {language: lines.text(number) for language, lines in self.lines.items()}
        else:
            line = self._first.json(number)
            texts = {language: first_value(line, key) for language, key in self.keys.items()}
        available = {language: text for language, text in texts.items() if isinstance(text, str) and text.strip()}
        if len(available) < 2:
            raise RecordError(where, f"text in fewer than two of the languages {', '.join(texts)}")
        return {"where": where, "id": where, "parallel": available, "extras": {}}


def _check_same_length(lines: Mapping[str, LineIndex]) -> None:
    if len({len(index) for index in lines.values()}) > 1:
        counts = ", ".join(f"{_names(index.files)} has {len(index)}" for index in lines.values())
        raise ValueError(f"parallel files need the same number of lines, but {counts}")


def _names(files: Sequence[Path]) -> str:
    return " + ".join(str(file) for file in files)
