"""``make-shards``: pack a data set into tar shards with an index, read every record back, and list what is left out.

The same command goes on where an interrupted one stopped. Exit status: 0 if all is packed, 1 if it stopped or too many
records cannot be used.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from x2vlm.commands.shared.dataset_sources import HELP, add_source_options, open_source

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def main(argv: Sequence[str] | None = None) -> int:
    """Write shards; returns the exit status."""
    args = _parse(argv)
    from x2vlm.data.io.paths import check_output_folder
    from x2vlm.data.shard_writing.shard_manifest import ShardManifest
    from x2vlm.data.shard_writing.write_shards import RESUME_HINT, ShardingStoppedError, write_shards

    check_output_folder(args.out, "out")
    source = open_source(args.source, args.cfg_options)
    part, parts = args.part
    name = args.name if parts == 1 else f"{args.name}-{part}of{parts}"
    first, stop = (len(source.adapter) * at // parts for at in (part - 1, part))
    args.out.mkdir(parents=True, exist_ok=True)
    manifest = ShardManifest.open(args.out, name, _request(args, source.dataset, first, stop), first)
    if manifest.next > first and not manifest.done:
        _print(f"going on from record {manifest.next:,} of {stop:,}")
    try:
        if not manifest.done:
            write_shards(source.adapter, manifest, args.workers, args.max_bad, _print_shard)
    except OSError as error:  # a full disk, a folder that has gone
        sys.stderr.write(f"{args.out}: {error.strerror or error}. Finished shards are whole; {RESUME_HINT}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"Interrupted. Finished shards are whole; {RESUME_HINT}\n")
        return 130
    except ShardingStoppedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    total = sum(shard["bytes"] for shard in manifest.shards)
    _print(
        f"{manifest.records:,} records in {len(manifest.shards):,} shards, {total:,} bytes, each record read back; "
        f"{manifest.bad:,} left out{f' (listed in {manifest.bad_file})' if manifest.bad else ''}.\n"
        f"Read them with: dict(type='TarShards', ann_file='{args.out / name}-*.jsonl')"
    )
    return 0


def _request(args: argparse.Namespace, dataset: dict[str, Any], first: int, stop: int) -> dict[str, Any]:
    """Data set and options, as they are compared when an interrupted run goes on."""
    return {
        "dataset": json.loads(json.dumps(dataset, default=str)),
        "records": [first, stop],
        "shard_records": args.shard_records,
        "shard_bytes": args.shard_bytes,
        "decode": not args.no_decode,
    }


def _print_shard(shard: dict[str, Any]) -> None:
    _print(f"{shard['tar']}: {shard['records']:,} records")


def _print(text: str) -> None:
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
        "--no-decode", action="store_true", help="do not decode what is packed: faster, but broken images get in"
    )
    add_source_options(parser)
    args = parser.parse_args(argv)
    if min(args.shard_records, args.shard_bytes) < 1:
        parser.error("--shard-records and --shard-bytes are limits, of 1 or more")
    return args
