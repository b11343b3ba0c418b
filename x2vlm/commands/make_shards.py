"""``make-shards``: pack a data set into tar shards with an index, read every record back, and name what is left out.

The same command goes on where an interrupted one stopped. Exit status: 0 if all is packed, 1 if it stopped or too many
records cannot be used.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError
from x2vlm.commands.dataset_sources import HELP, Source, add_source_options, open_one

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclass
class Manifest:
    """What is packed so far; beside the shards, always whole.

    Attributes:
        folder: Of the shards.
        name: Of the set.
        asked: What was asked for; only the same goes on.
        next: First record of the source that no finished shard has got to.
        shards: Finished ones: names, records, bytes, checksum.
        bad: Records left out so far; they are named in ``NAME.bad``, a line of JSON each.
        done: Whether all is packed.
    """

    folder: Path
    name: str
    asked: dict[str, Any]
    next: int = 0
    shards: list[dict[str, Any]] = field(default_factory=list)
    bad: int = 0
    done: bool = False

    @property
    def file(self) -> Path:
        """The manifest's file."""
        return self.folder / f"{self.name}.json"

    @property
    def bad_file(self) -> Path:
        """Where records that were left out are named."""
        return self.folder / f"{self.name}.bad"

    @property
    def records(self) -> int:
        """Records in finished shards."""
        return sum(shard["records"] for shard in self.shards)

    @classmethod
    def opened(cls, folder: Path, name: str, asked: dict[str, Any], first: int) -> "Manifest":
        """The manifest of an interrupted run, or a new one.

        Raises:
            ConfigError: If other shards of that name are there.
        """
        manifest = cls(folder, name, asked, next=first)
        if not manifest.file.is_file():
            there = sorted(path.name for path in folder.glob(f"{name}-*") if path.suffix in (".tar", ".jsonl"))
            if there or manifest.bad_file.exists():
                raise ConfigError(
                    f"{folder} holds {there[0] if there else manifest.bad_file.name}, which no {manifest.file.name} "
                    "accounts for. Give another --name or folder; nothing is overwritten."
                )
            manifest.commit(first, None, (), done=False)  # from now on, what is called so is its own
            return manifest
        known = json.loads(manifest.file.read_text(encoding="utf-8"))
        if known["asked"] != asked:
            changed = [key for key in asked if known["asked"].get(key) != asked[key]]
            raise ConfigError(
                f"{manifest.file} is of shards that were made from something else ({', '.join(changed)} differ). "
                "Give another --name or folder; nothing is overwritten."
            )
        manifest.next, manifest.shards = known["next"], known["shards"]
        manifest.bad, manifest.done = known["bad"], known["done"]
        return manifest

    def commit(self, next_: int, shard: dict[str, Any] | None, bad: Sequence[Any], done: bool) -> None:
        """Enter a finished shard and the records that were left out before its end."""
        from x2vlm.data.tools.shard_writer import write_whole

        known = self.bad_file.read_text(encoding="utf-8").splitlines()[: self.bad] if self.bad else []
        new = [json.dumps({"where": one.where, "reason": one.reason}, ensure_ascii=False) for one in bad]
        if new:
            write_whole(self.bad_file, "".join(f"{line}\n" for line in [*known, *new]))
        self.next, self.bad, self.done = next_, self.bad + len(bad), done
        self.shards += [shard] if shard else []
        content = {"asked": self.asked, "next": self.next, "bad": self.bad, "done": done, "shards": self.shards}
        write_whole(self.file, json.dumps(content, indent=2) + "\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Pack; returns the exit status."""
    args = _parse(argv)
    source = open_one(args.source, args.cfg_options)
    part, parts = args.part
    name = args.name if parts == 1 else f"{args.name}-{part}of{parts}"
    first, stop = (len(source.adapter) * at // parts for at in (part - 1, part))
    asked = {
        "dataset": json.loads(json.dumps(source.dataset, default=str)),
        "records": [first, stop],
        "shard_records": args.shard_records,
        "shard_bytes": args.shard_bytes,
        "decode": not args.no_decode,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    manifest = Manifest.opened(args.out, name, asked, first)
    if manifest.next > first and not manifest.done:
        _say(f"going on from record {manifest.next:,} of {stop:,}")
    try:
        if not manifest.done:
            pack(source, manifest, args.workers, args.max_bad)
    except OSError as error:  # a full disk, a folder that has gone
        sys.stderr.write(f"{args.out}: {error.strerror or error}. Finished shards are whole; {_AGAIN}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"Interrupted. Finished shards are whole; {_AGAIN}\n")
        return 130
    except _StoppedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    total = sum(shard["bytes"] for shard in manifest.shards)
    _say(
        f"{manifest.records:,} records in {len(manifest.shards):,} shards, {total:,} bytes, each record read back; "
        f"{manifest.bad:,} left out{f' (named in {manifest.bad_file})' if manifest.bad else ''}.\n"
        f"Read them with: dict(type='TarShards', ann_file='{args.out / name}-*.jsonl')"
    )
    return 0


_AGAIN = "the same command goes on from there."


class _StoppedError(RuntimeError):
    """Packing that should not go on."""


def pack(source: Source, manifest: Manifest, workers: int = 0, max_bad: float = 0.05) -> None:
    """Write all shards that are not there yet.

    Raises:
        OSError: If the disk is full, or goes away.
    """
    from x2vlm.data.tools.dataset_report import read_all
    from x2vlm.data.tools.shard_writer import Pack, PackError, Shard

    first, stop = manifest.asked["records"]
    shard, bad = None, []
    try:
        for seen in read_all(source.adapter, Pack(manifest.asked["decode"]), workers, manifest.next, stop):
            if seen.bad:
                bad.append(seen.bad)
                _check_share(manifest, bad, seen.index + 1 - first, max_bad)
                continue
            if shard is None:
                shard = Shard(manifest.folder, f"{manifest.name}-{len(manifest.shards):05d}")
            shard.add(seen.value)
            if len(shard.digests) >= manifest.asked["shard_records"] or shard.bytes >= manifest.asked["shard_bytes"]:
                manifest.commit(seen.index + 1, shard.finish(), bad, done=False)
                _say(f"{manifest.shards[-1]['tar']}: {manifest.shards[-1]['records']:,} records")
                shard, bad = None, []
        _check_share(manifest, bad, stop - first, max_bad, least=1)
        entry = shard.finish() if shard else None
        shard = None
        manifest.commit(stop, entry, bad, done=True)
    except PackError as error:
        raise _StoppedError(f"{error} The disk may be failing; nothing of this shard was put in place.") from error
    finally:
        if shard is not None:
            shard.abandon()


def _check_share(manifest: Manifest, bad: Sequence[Any], read: int, max_bad: float, least: int = 100) -> None:
    count = manifest.bad + len(bad)
    if read >= least and count > max_bad * read:
        from x2vlm.data.bad_records import named_records

        raise _StoppedError(
            f"{count:,} of the {read:,} records read cannot be used, more than --max-bad {max_bad} allows. The last of "
            f"them:\n{named_records(bad[-20:])}\nRepair the data, or raise the share: {_AGAIN}"
        )


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def number_of_bytes(text: str) -> int:
    """``"300M"`` is 300 * 2 ** 20.

    Raises:
        ValueError: If it is no number with K, M, G or T behind it.
    """
    unit = text[-1:].upper() if text[-1:].upper() in _UNITS else ""
    return int(float(text[: len(text) - len(unit)]) * _UNITS[unit])


def part_of_parts(text: str) -> tuple[int, int]:
    """``"2/8"`` is the second part of eight.

    Raises:
        ValueError: If it is no such thing.
    """
    part, parts = map(int, text.split("/"))
    if not 1 <= part <= parts:
        raise ValueError(text)
    return part, parts


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm make-shards", description=__doc__)
    parser.add_argument("source", help=HELP)
    parser.add_argument("out", type=Path, help="folder for the shards")
    parser.add_argument("--name", default="shard", help="shards are called NAME-00000.tar, ... (default: shard)")
    parser.add_argument(
        "--shard-bytes",
        type=number_of_bytes,
        default="512M",
        metavar="BYTES",
        help="end a shard that has so many bytes, e.g. 300M or 2G (default: 512M)",
    )
    parser.add_argument(
        "--shard-records", type=int, default=100_000, metavar="N", help="or so many records (default: 100000)"
    )
    parser.add_argument(
        "--part", type=part_of_parts, default="1/1", metavar="I/N", help="pack only this part, to share the work out"
    )
    parser.add_argument(
        "--max-bad", type=float, default=0.05, help="stop if a larger share cannot be used (default: 0.05)"
    )
    parser.add_argument(
        "--no-decode", action="store_true", help="do not decode what is packed: faster, but broken pictures get in"
    )
    add_source_options(parser)
    args = parser.parse_args(argv)
    if min(args.shard_records, args.shard_bytes) < 1:
        parser.error("--shard-records and --shard-bytes are limits, of 1 or more")
    return args
