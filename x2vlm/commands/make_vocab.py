"""``make-vocab``: a WordPiece vocabulary from texts, the same from the same texts every time."""

import argparse
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
    if file.suffix.lower() in _TABLES and (cells := _table_texts(file, keys)) is not None:
        yield from cells
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


def _table_texts(file: Path, keys: Sequence[str]) -> list[str] | None:
    """The cells of a table that hold texts; None if all of each line is text.

    Raises:
        ConfigError: If it is no table, or has none of the columns that are asked for.
    """
    from x2vlm.data.io.row_readers.table_rows import table_headings, table_rows  # slow to import, as is what reads data

    try:
        headings = table_headings(file, "files")
        columns = [key for key in keys or _TABLE_KEYS if key in headings]
        if keys and not columns:
            raise ConfigError(
                f"{file} has no column {', '.join(keys)}; its first line has: {', '.join(headings) or 'nothing'}"
            )
        if not columns:
            return None
        return [row[column] for _, row in table_rows(file, "files") for column in columns if row[column]]
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


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
