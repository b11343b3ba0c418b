"""``make-vocab``: a WordPiece vocabulary from texts, the same from the same texts every time."""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from x2vlm.building import ConfigError

_TABLES = (".csv", ".tsv")
_TABLE_KEYS = ("caption", "phrase")  # of ImageTable


def main(argv: Sequence[str] | None = None) -> int:
    """Read texts, write one word piece a line."""
    parser = argparse.ArgumentParser(prog="x2vlm make-vocab", description=__doc__)
    parser.add_argument("out", type=Path, help="the vocabulary file to write; must not exist")
    parser.add_argument("files", type=Path, nargs="+", help="text files (a text a line), JSON lines (--key), tables")
    parser.add_argument(
        "--key",
        action="append",
        help="key of JSON lines that holds a text or a list, or column of CSV and TSV files (default there: caption "
        "and phrase, if there is one); may be repeated",
    )
    parser.add_argument("--size", type=int, default=8000, help="at most so many pieces (default: 8000)")
    args = parser.parse_args(argv)
    if args.out.exists():
        raise ConfigError(f"{args.out} exists. Models trained with it depend on it: remove it, or name another file.")
    texts = (text for file in args.files for text in read_texts(file, args.key or ()))
    pieces = vocabulary(texts, args.size)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(pieces) + "\n", "utf-8")
    sys.stdout.write(f"{args.out}: {len(pieces)} pieces.\n")
    return 0


def read_texts(file: Path, keys: Sequence[str]) -> Iterator[str]:
    """The lines of a text file, or the values of ``keys`` in a file of JSON lines or a table.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If a line is no JSON object, or a table has none of the columns.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist (looked from {Path.cwd()}).")
    if file.suffix.lower() in _TABLES and (columns := _columns(file, keys)):
        yield from (row[column] for row in _rows(file) for column in columns if row[column])
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not keys:
                yield line
                continue
            try:
                entry = json.loads(line)
                values = [entry.get(key) for key in keys]
            except (json.JSONDecodeError, AttributeError) as error:
                raise ConfigError(f"{file}:{number}: expected a JSON object, since --key was given: {error}") from error
            for value in values:
                yield from [value] if isinstance(value, str) else value or ()


def _rows(file: Path) -> Iterator[dict[str, str | None]]:
    """The lines of a table by its headings; what stands between the columns is seen in them."""
    with file.open(newline="", encoding="utf-8-sig", errors="replace") as lines:
        first = lines.readline()
        lines.seek(0)
        yield from csv.DictReader(lines, delimiter=max(",;\t", key=first.count))


def _columns(file: Path, keys: Sequence[str]) -> list[str]:
    """The columns of a table that hold texts; none if all of each line is text."""
    headings = list(next(_rows(file), {}))
    columns = [key for key in keys or _TABLE_KEYS if key in headings]
    if keys and not columns:
        there = ", ".join(map(str, headings))
        raise ConfigError(f"{file} has no column {', '.join(keys)}; its first line has: {there}")
    return columns


def vocabulary(texts: Iterable[str], size: int) -> list[str]:
    """Special tokens, every character (at the start and inside of a word), then whole words from the most frequent on.

    With all characters in it, no text of the same alphabet has an unknown word. Ties are broken by the alphabet.

    Raises:
        ConfigError: If ``size`` does not hold the characters.
    """
    from transformers import BertTokenizer  # slow to import, as is what reads data

    from x2vlm.data.tokenizer import SPECIAL_TOKENS

    splitter = BertTokenizer(vocab={token: i for i, token in enumerate(SPECIAL_TOKENS)})
    normalize = splitter.backend_tokenizer.normalizer.normalize_str
    split = splitter.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    counts = Counter(word for text in texts for word, _ in split(normalize(text)))
    characters = sorted({character for word in counts for character in word})
    inner = [f"##{character}" for character in characters]
    base = [*SPECIAL_TOKENS, *characters, *inner]
    if size < len(base):
        raise ConfigError(
            f"--size {size} is too small: the special tokens and characters alone are {len(base)} pieces."
        )
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return [*base, *words[: size - len(base)]]
