"""``build-pretraining-set``: make a pre-training list from raw sets as they are downloaded.

Images of test sets are left out, by name and by perceptual hash; the others are packed into tar shards, which the
pre-training configs read. The same command goes on where an interrupted one stopped. report.json and report.md say for
each set what was found, published, left out and why. Exit status: 0 if every set is packed, 1 if one is not, 2 if raw
files are missing that --without does not name.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from x2vlm.building import ConfigError
from x2vlm.commands.make_shards import number_of_bytes
from x2vlm.commands.shared.pretraining_set_run import PretrainingSet, print_line
from x2vlm.config import add_cfg_options, load_config
from x2vlm.constants import HASH_BITS, HASH_DISTANCE, LEAKAGE_METHODS


def main(argv: Sequence[str] | None = None) -> int:
    """Make a list; returns the exit status."""
    args = _parse(argv)
    cfg = load_config(args.raw, args.cfg_options)
    if not cfg.get("raw_sets"):
        raise ConfigError(f"{args.raw} has no raw_sets. Base it on configs/base/raw_4m.py or raw_1b.py.")
    build = PretrainingSet(cfg, args)
    missing = build.missing()
    if args.check or missing:
        print_line(build.format_check(missing))
        return 2 if missing else 0
    try:
        return build.run()
    except OSError as error:  # a full disk, a folder that has gone
        where = error.filename or args.out
        sys.stderr.write(f"{where}: {error.strerror or error}. What is packed stays; the same command goes on.\n")
        return 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm build-pretraining-set", description=__doc__)
    parser.add_argument("raw", help="a config that says where the raw sets are, e.g. configs/base/raw_4m.py")
    parser.add_argument("out", type=Path, help="folder of the list: the data_root of pre-training")
    parser.add_argument("--check", action="store_true", help="only say which raw files are there and which are not")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="NAME", help="sets that are not to be had, e.g. raw_sets.sbu"
    )
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="pack only these raw sets now, to share the work out"
    )
    methods = dict(choices=LEAKAGE_METHODS, default=LEAKAGE_METHODS)
    parser.add_argument("--by", nargs="+", **methods, help="see check-leakage (default: both)")
    parser.add_argument(
        "--distance",
        type=int,
        default=HASH_DISTANCE,
        help=f"of {HASH_BITS} bits of two images' hashes, how many may differ (default: {HASH_DISTANCE})",
    )
    parser.add_argument(
        "--shard-bytes", type=number_of_bytes, default="512M", metavar="BYTES", help="see make-shards (default: 512M)"
    )
    parser.add_argument(
        "--shard-records", type=int, default=100_000, metavar="N", help="see make-shards (default: 100000)"
    )
    parser.add_argument(
        "--max-bad", type=float, default=0.05, help="stop a set if a larger share cannot be used (default: 0.05)"
    )
    parser.add_argument("--workers", type=int, default=0, help="processes that read (default: 0, this one)")
    add_cfg_options(parser)
    args = parser.parse_args(argv)
    if min(args.shard_records, args.shard_bytes) < 1:
        parser.error("--shard-records and --shard-bytes are limits, of 1 or more")
    if not 0 <= args.distance < HASH_BITS // 2:
        parser.error(
            f"--distance is a number of bits from 0 to {HASH_BITS // 2 - 1}; unlike images differ in {HASH_BITS // 2}"
        )
    if not 0 <= args.max_bad <= 1:
        parser.error("--max-bad is a share, from 0 to 1")
    if args.workers < 0:
        parser.error("--workers is a number of processes, from 0")
    return args
