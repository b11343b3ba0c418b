"""``check-leakage``: what a training set shares with a test set, by identity and by near-duplicate pictures.

Writes the identities of the training set that are to be left out, one a line: give the file to the training set as
subset=dict(exclude_ids=FILE). Exit status: 0 if nothing is shared, 1 if something is.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from x2vlm.building import ConfigError
from x2vlm.commands.dataset_sources import HELP, Source, add_source_options, is_config, open_sources

BY = ("ids", "pictures")


@dataclass
class Gallery:
    """Identities and picture hashes of a data set.

    Attributes:
        name: What the data set is called.
        ids: ``N`` identities.
        wheres: ``N`` places.
        hashes: ``[M, V, W]`` of all pictures (a video has several).
        owner: ``[M]``, which record each belongs to.
        plain: Records without enough contrast to be compared.
        bad: Records that cannot be read: place and reason.
    """

    name: str
    ids: list[str]
    wheres: list[str]
    hashes: np.ndarray
    owner: np.ndarray
    plain: int
    bad: list[dict[str, str]]


class Fingerprint:
    """Look at a record: its identity, its place, and the hashes of what it shows."""

    def __init__(self, pictures: bool = True) -> None:
        from x2vlm.data.tools.dataset_report import Depict

        self.depict = Depict() if pictures else None

    def __call__(self, adapter: Any, index: int) -> tuple[str, str, list[np.ndarray | None]]:
        """Identity, place, and for each picture its hashes (None for a plain one).

        Raises:
            RecordError: If the record, or what it shows, cannot be read.
        """
        from x2vlm.data.tools.perceptual_hash import picture_hashes

        record = adapter.record(index)
        if self.depict is not None:
            record = self.depict(record)
        return str(record["id"]), record["where"], [picture_hashes(frame) for frame in record.get("frames", ())]


def main(argv: Sequence[str] | None = None) -> int:
    """Compare; returns the exit status."""
    args = _parse(argv)
    by = args.by or BY
    out = Path(args.out) if args.out else None
    report_file = out.with_suffix(".pairs.jsonl") if out else None
    for file in (out, report_file):
        if file and file.exists() and not args.overwrite:
            raise ConfigError(f"{file} exists. A training set may be using it: name another file, or say --overwrite.")
    if args.cfg_options and not any(map(is_config, (args.train, args.test))):
        raise ConfigError("neither set is named by a config, so --cfg-options has nothing to act on.")
    train, test = (
        open_sources(spec, args.cfg_options if is_config(spec) else None, kinds=(kind,))
        for spec, kind in ((args.train, "streams"), (args.test, "evaluations"))
    )
    tests = [gallery(source, "pictures" in by, args.workers) for source in test]
    found: list[dict[str, Any]] = []
    for source in train:
        ours = gallery(source, "pictures" in by, args.workers)
        _say(described(ours))
        for theirs in tests:
            found += shared(ours, theirs, by, args.distance)
    for theirs in tests:
        _say(described(theirs))
    excluded = sorted({pair["train_id"] for pair in found})
    for pair in found[: args.named]:
        _say(sentence(pair))
    if len(found) > args.named:
        _say(f"  ... and {len(found) - args.named:,} more (--named{', or see ' + str(report_file) if out else ''})")
    counts = {kind: sum(pair["by"] == kind for pair in found) for kind in BY}
    _say(
        f"{counts['ids']:,} pairs by identity, {counts['pictures']:,} by picture (distance up to {args.distance}); "
        f"{len(excluded):,} identities of the training set to leave out."
    )
    if out:
        _write(out, "".join(f"{identity}\n" for identity in excluded))
        _write(report_file, "".join(json.dumps(pair, ensure_ascii=False) + "\n" for pair in found))
        _say(f"written: {out} (for subset=dict(exclude_ids=...)), {report_file} (every pair, to look at)")
    return int(bool(found))


def gallery(source: Source, pictures: bool = True, workers: int = 0) -> Gallery:
    """Read a data set and take the fingerprints of all it shows."""
    from x2vlm.data.tools.dataset_report import read_all
    from x2vlm.data.tools.perceptual_hash import VIEWS, WORDS

    ids, wheres, hashes, owner, bad, plain = [], [], [], [], [], 0
    for seen in read_all(source.adapter, Fingerprint(pictures), workers):
        if seen.bad:
            bad.append({"where": seen.bad.where, "reason": seen.bad.reason})
            continue
        identity, where, found = seen.value
        usable = [one for one in found if one is not None]
        plain += bool(found) and not usable
        hashes += usable
        owner += [len(ids)] * len(usable)
        ids.append(identity)
        wheres.append(where)
    stacked = np.stack(hashes) if hashes else np.zeros((0, len(VIEWS), WORDS), dtype=np.uint64)
    return Gallery(source.name, ids, wheres, stacked, np.array(owner, dtype=np.int64), plain, bad)


def shared(train: Gallery, test: Gallery, by: Sequence[str] = BY, distance: int | None = None) -> list[dict[str, Any]]:
    """What two data sets share: a dict for each pair of records, those with one identity first.

    Args:
        train: The training set.
        test: The test set.
        by: ``ids``, ``pictures`` or both. Identities compare only where both sets are named by one authority.
        distance: Bits in which the hashes of two pictures may differ; None for the recommended number.
    """
    from x2vlm.data.tools.perceptual_hash import DISTANCE, near_pairs

    pairs: dict[tuple[int, int], dict[str, Any]] = {}
    if "ids" in by:
        named = {identity: j for j, identity in reversed(list(enumerate(test.ids)))}
        for i, identity in enumerate(train.ids):
            if identity in named:
                pairs[i, named[identity]] = {"by": "ids"}
    if "pictures" in by:
        most = DISTANCE if distance is None else distance
        for a, b, apart, flipped in near_pairs(train.hashes, test.hashes, most):
            key = int(train.owner[a]), int(test.owner[b])
            known = pairs.setdefault(key, {"by": "pictures"})
            if apart < known.get("distance", apart + 1):
                known |= {"distance": apart, "mirrored": flipped}
    return [_pair(train, test, i, j, what) for (i, j), what in sorted(pairs.items(), key=lambda one: one[1]["by"])]


def _pair(train: Gallery, test: Gallery, i: int, j: int, what: dict[str, Any]) -> dict[str, Any]:
    return {
        **what,
        "train": train.name,
        "train_id": train.ids[i],
        "train_where": train.wheres[i],
        "test": test.name,
        "test_id": test.ids[j],
        "test_where": test.wheres[j],
    }


def described(one: Gallery) -> str:
    """A data set in a line, and a line for each of its records that could not be read."""
    plain = f", {one.plain:,} too plain to compare" if one.plain else ""
    lines = [f"{one.name}: {len(one.ids):,} records, {len(one.hashes):,} pictures{plain}; {len(one.bad):,} unreadable"]
    return "\n".join([*lines, *(f"  {bad['where']}: {bad['reason']}" for bad in one.bad)])


def sentence(pair: dict[str, Any]) -> str:
    """A pair in a line."""
    how = "same identity" if pair["by"] == "ids" else "same picture"
    if "distance" in pair:
        how += f" (distance {pair['distance']}{', mirrored' if pair['mirrored'] else ''})"
    return f"  {pair['train_id']} ({pair['train_where']}) and {pair['test_id']} ({pair['test_where']}): {how}"


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f"{file.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, file)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    from x2vlm.data.tools.perceptual_hash import BITS, DISTANCE

    parser = argparse.ArgumentParser(prog="x2vlm check-leakage", description=__doc__)
    parser.add_argument("train", help=f"the training set: {HELP}")
    parser.add_argument("test", help="the test set, named likewise; of a config without NAME all evaluations")
    parser.add_argument("--out", help="where the exclusion list goes; every pair goes beside it, into *.pairs.jsonl")
    parser.add_argument("--overwrite", action="store_true", help="replace files that are there")
    parser.add_argument(
        "--by", nargs="+", choices=BY, help="compare identities, pictures, or both (default); see docs/data.md"
    )
    parser.add_argument(
        "--distance",
        type=int,
        default=DISTANCE,
        help=f"of {BITS} bits, how many may differ (default: {DISTANCE}); more finds more, and more that is not there",
    )
    parser.add_argument("--named", type=int, default=20, help="pairs that are shown (default: 20)")
    add_source_options(parser)
    return parser.parse_args(argv)
