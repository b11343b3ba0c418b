"""``check-leakage``: what a training set shares with a test set, by identity and by near-duplicate images.

Writes the identities of the training set that are to be left out, one a line: give the file to the training set as
subset=dict(exclude_ids=FILE). Exit status: 0 if nothing is shared, 1 if something is.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x2vlm.building import ConfigError
from x2vlm.commands.shared.dataset_sources import HELP, DatasetSource, add_source_options, is_config, open_sources
from x2vlm.constants import HASH_BITS, HASH_DISTANCE, LEAKAGE_METHODS

if TYPE_CHECKING:
    from x2vlm.data.inspection.leakage import DatasetFingerprint


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; returns the exit status."""
    args = _parse(argv)
    from x2vlm.data.inspection.leakage import fingerprint_dataset, shared_records

    by = args.by or LEAKAGE_METHODS
    out, pairs_file = _output_files(args)
    train_sources, test_sources = _open_both(args)

    def fingerprint(source: DatasetSource) -> "DatasetFingerprint":
        return fingerprint_dataset(source.name, source.adapter, "pictures" in by, args.workers)

    tests = [fingerprint(source) for source in test_sources]
    pairs: list[dict[str, Any]] = []
    for source in train_sources:
        train = fingerprint(source)
        _print(format_fingerprint(train))
        for test in tests:
            pairs += shared_records(train, test, by, args.distance)
    for test in tests:
        _print(format_fingerprint(test))
    _print_pairs(pairs, args.named, pairs_file)
    excluded = sorted({pair["train_id"] for pair in pairs})
    counts = {method: sum(pair["by"] == method for pair in pairs) for method in LEAKAGE_METHODS}
    _print(
        f"{counts['ids']:,} pairs by identity, {counts['pictures']:,} by image (distance up to {args.distance}); "
        f"{len(excluded):,} identities of the training set to leave out."
    )
    if out:
        _write(out, "".join(f"{identity}\n" for identity in excluded))
        _write(pairs_file, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in pairs))
        _print(f"written: {out} (for subset=dict(exclude_ids=...)), {pairs_file} (every pair, to look at)")
    return int(bool(pairs))


def _output_files(args: argparse.Namespace) -> tuple[Path | None, Path | None]:
    out = Path(args.out) if args.out else None
    pairs_file = out.with_suffix(".pairs.jsonl") if out else None
    for file in (out, pairs_file):
        if file and file.exists() and not args.overwrite:
            raise ConfigError(f"{file} exists. A training set may be using it: name another file, or say --overwrite.")
    return out, pairs_file


def _open_both(args: argparse.Namespace) -> tuple[list[DatasetSource], list[DatasetSource]]:
    if args.cfg_options and not any(map(is_config, (args.train, args.test))):
        raise ConfigError("neither set is named by a config, so --cfg-options has nothing to act on.")
    train, test = (
        open_sources(spec, args.cfg_options if is_config(spec) else None, kinds=(kind,))
        for spec, kind in ((args.train, "streams"), (args.test, "evaluations"))
    )
    return train, test


def _print_pairs(pairs: Sequence[dict[str, Any]], most: int, pairs_file: Path | None) -> None:
    for pair in pairs[:most]:
        _print(format_pair(pair))
    if len(pairs) > most:
        _print(f"  ... and {len(pairs) - most:,} more (--named{f', or see {pairs_file}' if pairs_file else ''})")


def format_fingerprint(dataset: "DatasetFingerprint") -> str:
    """A data set in a line, and a line for each of its records that could not be read."""
    skipped = f", {dataset.low_contrast:,} with too little contrast to compare" if dataset.low_contrast else ""
    summary = (
        f"{dataset.name}: {len(dataset.ids):,} records, {len(dataset.hashes):,} images{skipped}; "
        f"{len(dataset.bad):,} unreadable"
    )
    return "\n".join([summary, *(f"  {bad.where}: {bad.reason}" for bad in dataset.bad)])


def format_pair(pair: dict[str, Any]) -> str:
    """A pair in a line."""
    match = "same identity" if pair["by"] == "ids" else "same image"
    if "distance" in pair:
        match += f" (distance {pair['distance']}{', mirrored' if pair['mirrored'] else ''})"
    return f"  {pair['train_id']} ({pair['train_where']}) and {pair['test_id']} ({pair['test_where']}): {match}"


def _write(file: Path, text: str) -> None:
    from x2vlm.data.io.atomic_files import write_atomically

    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, text)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm check-leakage", description=__doc__)
    parser.add_argument("train", help=f"the training set: {HELP}")
    parser.add_argument("test", help="the test set, named likewise; of a config without NAME all evaluations")
    parser.add_argument("--out", help="where the exclusion list goes; every pair goes beside it, into *.pairs.jsonl")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--by",
        nargs="+",
        choices=LEAKAGE_METHODS,
        help="compare identities (ids), images (pictures), or both (default); see docs/data.md",
    )
    parser.add_argument(
        "--distance",
        type=int,
        default=HASH_DISTANCE,
        help=f"of {HASH_BITS} bits, how many may differ (default: {HASH_DISTANCE}); more finds more, and more "
        "that is not there",
    )
    parser.add_argument("--named", type=int, default=20, help="pairs that are shown (default: 20)")
    add_source_options(parser)
    return parser.parse_args(argv)
