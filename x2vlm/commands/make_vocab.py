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
_JSON = (".jsonl", ".json", ".ndjson")


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
    from x2vlm.data.io.paths import check_output_folder  # slow to import, as is what reads data

    if args.out.exists():
        raise ConfigError(f"{args.out} exists. Models trained with it depend on it: remove it, or name another file.")
    check_output_folder(args.out.parent, "out")
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
        ConfigError: If a file is no text, a line is no JSON object or has no texts under a key, a table has none of the
            columns, or keys are missing for a file of JSON lines.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{file} does not exist (looked from {Path.cwd()}).")
    if file.suffix.lower() in _TABLES and (cells := _table_texts(file, keys)) is not None:
        yield from cells
        return
    if not keys and file.suffix.lower() in _JSON:
        raise ConfigError(f"{file} holds JSON: name the keys that hold its texts, e.g. --key caption.")
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                yield from _texts_of_line(line, keys, f"{file}:{number}") if keys else [line]
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{file} is not a UTF-8 text file: {error}. Write texts, JSON lines, CSV or TSV for it."
        ) from error


def _texts_of_line(line: str, keys: Sequence[str], where: str) -> Iterator[str]:
    try:
        entry = json.loads(line)
        values = {key: entry.get(key) for key in keys}
    except (json.JSONDecodeError, AttributeError) as error:
        raise ConfigError(f"{where}: expected a JSON object, since --key was given: {error}") from error
    for key, value in values.items():
        texts = [value] if isinstance(value, str) else value or []
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ConfigError(f"{where}: {key} is {value!r:.80}; expected a text or a list of texts.")
        yield from texts


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
        ConfigError: If ``size`` does not hold the characters, or there is no word.
    """
    from transformers import BertTokenizer  # slow to import, as is what reads data

    from x2vlm.data.tokenizer import SPECIAL_TOKENS

    splitter = BertTokenizer(vocab={token: i for i, token in enumerate(SPECIAL_TOKENS)})
    normalize = splitter.backend_tokenizer.normalizer.normalize_str
    split = splitter.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    counts = Counter(word for text in texts for word, _ in split(normalize(text)))
    if not counts:
        raise ConfigError("there is no word in the files, or none under the names of --key. Nothing was written.")
    characters = sorted({character for word in counts for character in word})
    inner = [f"##{character}" for character in characters]
    base = [*SPECIAL_TOKENS, *characters, *inner]
    if size < len(base):
        raise ConfigError(
            f"--size {size} is too small: the special tokens and characters alone are {len(base)} pieces."
        )
    words = sorted((word for word in counts if len(word) > 1), key=lambda word: (-counts[word], word))
    return [*base, *words[: size - len(base)]]
