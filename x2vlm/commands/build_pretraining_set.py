"""``build-pretraining-set``: make a pre-training list from raw sets as they are downloaded.

Images of test sets are left out, by name and by perceptual hash; the others are packed into tar shards, which the
pre-training configs read. The same command goes on where an interrupted one stopped. report.json and report.md say for
each set what was found, published, left out and why. Exit status: 0 if every set is packed, 1 if one is not, 2 if raw
files are missing that --without does not name.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x2vlm.building import ConfigError, suggestion
from x2vlm.commands.make_shards import number_of_bytes
from x2vlm.config import add_cfg_options, load_config
from x2vlm.constants import HASH_BITS, HASH_DISTANCE, LEAKAGE_METHODS

if TYPE_CHECKING:
    from x2vlm.data.inspection.held_out import HeldOutImages
    from x2vlm.data.inspection.leakage import DatasetFingerprint

GROUPS = ("raw_sets", "held_out_sets", "same_images")


def main(argv: Sequence[str] | None = None) -> int:
    """Make a list; returns the exit status."""
    args = _parse(argv)
    cfg = load_config(args.raw, args.cfg_options)
    if not cfg.get("raw_sets"):
        raise ConfigError(f"{args.raw} has no raw_sets. Base it on configs/base/raw_4m.py or raw_1b.py.")
    build = PretrainingSet(cfg, args)
    missing = build.missing()
    if args.check or missing:
        _print(build.format_check(missing))
        return 2 if missing else 0
    try:
        return build.run()
    except OSError as error:  # a full disk, a folder that has gone
        where = error.filename or args.out
        sys.stderr.write(f"{where}: {error.strerror or error}. What is packed stays; the same command goes on.\n")
        return 1


class PretrainingSet:
    """A list that is being made.

    Args:
        cfg: With ``raw_sets``, ``held_out_sets`` and ``same_images``.
        args: Of the command line.
    """

    def __init__(self, cfg: Mapping[str, Any], args: argparse.Namespace) -> None:
        from x2vlm.data.pretraining_set.raw_sets import HeldOutSet, PackingOptions, RawSet, check_folders

        self.out, self.data_root = args.out, cfg.get("data_root")
        groups = {group: dict(cfg.get(group) or {}) for group in GROUPS}
        self.without = _named_in(args.without, groups)
        for name in self.without:
            group, _, key = name.partition(".")
            groups[group].pop(key)
        self.raw_sets = {name: _made(RawSet, value, f"raw_sets.{name}") for name, value in groups["raw_sets"].items()}
        if not self.raw_sets:
            raise ConfigError("--without leaves out every raw set, so there is nothing to pack.")
        self.held_out_sets = {
            name: _made(HeldOutSet, value, f"held_out_sets.{name}") for name, value in groups["held_out_sets"].items()
        }
        self.same_images = {kind: _below(self.data_root, files) for kind, files in groups["same_images"].items()}
        self.only = [name.partition(".")[2] for name in _named_in(args.only, {"raw_sets": self.raw_sets})]
        check_folders(self.raw_sets)
        limits = (args.shard_records, args.shard_bytes, args.max_bad, args.workers)
        self.options = PackingOptions(tuple(args.by), args.distance, *limits)

    def missing(self) -> dict[str, list[str]]:
        """Files and folders that are not there, by the set that needs them."""
        from x2vlm.data.inspection.image_identity import check_lists
        from x2vlm.data.pretraining_set.raw_sets import is_there, missing_files

        check_lists(self.same_images)
        packed = self.only or self.raw_sets  # what another run packs need not be here
        sets = {f"raw_sets.{name}": self.raw_sets[name] for name in packed}
        sets |= {f"held_out_sets.{name}": one for name, one in self.held_out_sets.items()}
        missing = {name: missing_files(one.dataset, self.data_root) for name, one in sets.items()}
        for kind, files in self.same_images.items():
            missing[f"same_images.{kind}"] = [file for file in files if not is_there(file)]
        return {name: paths for name, paths in missing.items() if paths}

    def format_check(self, missing: Mapping[str, Sequence[str]]) -> str:
        """What is there and what is not, a line each."""
        from x2vlm.data.pretraining_set.raw_sets import format_lone_names

        names = [f"raw_sets.{name}" for name in self.only or self.raw_sets]
        names += [f"held_out_sets.{name}" for name in self.held_out_sets]
        names += [f"same_images.{name}" for name in self.same_images]
        lines = [
            f"{name}: " + (f"MISSING {', '.join(missing[name])}" if name in missing else "there") for name in names
        ]
        lines += [f"{name}: left out (--without)" for name in self.without]
        lines += format_lone_names(self.raw_sets, self.held_out_sets, self.options.by)
        if missing:
            lines.append(
                f"{len(missing)} of {len(names)} are missing (looked from {Path.cwd()}). Download them, say where they "
                f"are (--cfg-options data_root=FOLDER), or do without: --without {' '.join(missing)}"
            )
        return "\n".join(lines)

    def run(self) -> int:
        """Pack all sets; returns the exit status."""
        from x2vlm.data.pretraining_set.raw_sets import format_lone_names

        self._check_writable()
        for line in format_lone_names(self.raw_sets, self.held_out_sets, self.options.by):
            _print(line)
        tests = self._fingerprints()
        held_out = self._held_out(tests)
        notes: dict[str, str] = {}
        self._report(tests, notes)
        for name in self.only or self.raw_sets:
            notes[name] = self._pack(name, held_out)
            status = self._report(tests, notes)
        _print((self.out / "report.md").read_text(encoding="utf-8"))
        _print(f"written: {self.out / 'report.json'}, {self.out / 'report.md'}")
        return status

    def _check_writable(self) -> None:
        """Find out before the test sets are read, not afterwards."""
        probe = self.out / f".writable-{os.getpid()}"  # several runs may share the folder
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise ConfigError(
                f"{self.out}: {error.strerror or error}. The list needs a folder that it may write; give another one."
            ) from error

    def _fingerprints(self) -> "dict[str, DatasetFingerprint]":
        from x2vlm.building import build
        from x2vlm.data.data_root import with_data_root
        from x2vlm.data.inspection.held_out import fingerprint_test_set, stored_fingerprint
        from x2vlm.data.pretraining_set.raw_sets import HELD_OUT
        from x2vlm.registry import DATASETS

        fingerprints, folder = {}, self.out / HELD_OUT
        max_bad = self.options.max_bad if "pictures" in self.options.by else 1.0
        for name, test in self.held_out_sets.items():
            dataset = with_data_root(test.dataset, self.data_root)
            request = json.loads(json.dumps({"dataset": dataset, "named_by": test.named_by}, default=str))
            found = stored_fingerprint(name, folder, request, max_bad)
            if found is None:
                adapter = build(DATASETS, dataset, f"held_out_sets.{name}.dataset")
                _print(f"held_out_sets.{name}: reading {len(adapter):,} records")
                workers = self.options.workers
                found = fingerprint_test_set(name, adapter, test.named_by, workers, folder, request, max_bad)
            fingerprints[name] = found
        return fingerprints

    def _held_out(self, tests: "Mapping[str, DatasetFingerprint]") -> "HeldOutImages":
        from x2vlm.data.inspection.held_out import HeldOutImages

        named = [(test, self.held_out_sets[name].named_by is not None) for name, test in tests.items()]
        try:
            held_out = HeldOutImages.of(named, self.same_images, self.options.distance)
        except ValueError as error:  # a broken list of names
            raise ConfigError(str(error)) from error
        bad = sum(len(test.bad) for test in tests.values())
        _print(
            f"{len(held_out.hashes):,} test images to compare with, under {len(held_out.names):,} names"
            + (f"; {bad:,} cannot be read, see report.md" if bad else "")
        )
        return held_out

    def _pack(self, name: str, held_out: "HeldOutImages") -> str:
        """Pack a set; returns why it is not complete, empty if it is."""
        from x2vlm.data.pretraining_set.raw_sets import pack_set
        from x2vlm.data.shard_writing.write_shards import ShardingStoppedError
        from x2vlm.gallery.progress import Progress

        progress: list[Progress] = []

        def begin(done: int, total: int) -> Callable[[int], None]:
            if done:
                _print(f"{name}: going on from record {done:,} of {total:,}")
            progress.append(Progress(name, total - done, "records").__enter__())
            return progress[0].add

        raw_set = self.raw_sets[name]
        try:
            pack_set(name, raw_set, self.out / raw_set.out, self.data_root, held_out, self.options, begin)
        except (ShardingStoppedError, ConfigError, FileNotFoundError) as error:  # the other sets do not suffer from it
            sys.stderr.write(f"{name}: {error}\n")
            return str(error)
        finally:
            for one in progress:
                one.__exit__(None)
        return ""

    def _report(self, tests: "Mapping[str, DatasetFingerprint]", notes: Mapping[str, str]) -> int:
        """Write the report as things stand; 1 if a set is not packed, or was left out."""
        from x2vlm.data.io.atomic_files import write_atomically
        from x2vlm.data.pretraining_set.raw_sets import open_manifest
        from x2vlm.data.pretraining_set.set_report import format_list_report, report_on_set, report_on_test

        sets = {}
        for name, raw_set in self.raw_sets.items():
            try:
                manifest, problem = open_manifest(self.out / raw_set.out, name), ""
            except ConfigError as error:  # the other sets do not suffer from it
                manifest, problem = None, str(error)
            sets[name] = report_on_set(raw_set, manifest, notes.get(name) or problem)
        report = {
            "compared": {"by": list(self.options.by), "distance": self.options.distance},
            "without": self.without,
            "sets": sets,
            "tests": {name: report_on_test(test) for name, test in tests.items()},
        }
        self.out.mkdir(parents=True, exist_ok=True)
        write_atomically(self.out / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        write_atomically(self.out / "report.md", format_list_report(report))
        return int(any(one["state"] != "complete" or one["note"] for one in sets.values()))


def _named_in(names: Sequence[str], groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names as ``group.name``; of a name alone the group that has it.

    Raises:
        ConfigError: If there is no such set, or several groups have one of that name.
    """
    known = [f"{group}.{name}" for group in groups for name in groups[group]]
    found = []
    for name in names:
        matching = [one for one in known if name in (one, one.partition(".")[2])]
        if len(matching) != 1:
            near = suggestion(name, [*known, *(one.partition(".")[2] for one in known)])
            told = f"is ambiguous: {', '.join(matching)}." if matching else f"is no set.{near}"
            raise ConfigError(f"'{name}' {told} There are: {', '.join(known)}.")
        found += matching
    return list(dict.fromkeys(found))


def _made(kind: type, value: Mapping[str, Any], path: str) -> Any:
    try:
        return kind(**value)
    except ValueError as error:
        raise ConfigError(str(error), path) from error


def _below(data_root: str | None, files: Any) -> list[str]:
    paths = [files] if isinstance(files, str) else list(files)
    return [str(Path(data_root or "").expanduser() / Path(path).expanduser()) for path in paths]


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


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
