"""A pre-training list in the making: raw sets are checked, compared with test sets, packed and reported on."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from x2vlm.building import ConfigError, suggestion

if TYPE_CHECKING:
    from x2vlm.data.inspection.held_out import HeldOutImages
    from x2vlm.data.inspection.leakage import DatasetFingerprint

GROUPS = ("raw_sets", "held_out_sets", "same_images")


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
            print_line(line)
        tests = self._fingerprints()
        held_out = self._held_out(tests)
        notes: dict[str, str] = {}
        self._report(tests, notes)
        for name in self.only or self.raw_sets:
            notes[name] = self._pack(name, held_out)
            status = self._report(tests, notes)
        print_line((self.out / "report.md").read_text(encoding="utf-8"))
        print_line(f"written: {self.out / 'report.json'}, {self.out / 'report.md'}")
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
                print_line(f"held_out_sets.{name}: reading {len(adapter):,} records")
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
        print_line(
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
                print_line(f"{name}: going on from record {done:,} of {total:,}")
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
        """Write the report as things stand; 1 if a set of the list is not packed (yet), or has a note."""
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


def print_line(text: str) -> None:
    """Write a line at once, also where the output is a file."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
