"""The report on a pre-training list: for each set what was found, published, left out and why, and packed."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from x2vlm.data.inspection.leakage import DatasetFingerprint
from x2vlm.data.pretraining_set.raw_sets import COUNTS, RawSet
from x2vlm.data.shard_writing.shard_manifest import ShardManifest

_REASONS = 20  # kinds of reasons of bad records that a report names

_COLUMNS = ("set", "state", "found", "published", "by name", "by hash", "bad", "packed", *COUNTS[1:], "shards", "GB")


def report_on_set(raw_set: RawSet, manifest: ShardManifest | None, note: str = "") -> dict[str, Any]:
    """The report on one set.

    Args:
        raw_set: The set.
        manifest: Of its shards; None if there are none.
        note: Why it is not complete, where that is known.
    """
    report: dict[str, Any] = {"out": raw_set.out, "published": dict(raw_set.published)}
    if manifest is None:
        return {"state": "absent", "note": note, **report}
    counts = sum((Counter(shard.get("counts", {})) for shard in manifest.shards), Counter())
    excluded = Counter(entry["by"] for entry in _entries(manifest.excluded_file, manifest.excluded))
    tests = Counter(f"{entry['test']}, {entry['by']}" for entry in _entries(manifest.excluded_file, manifest.excluded))
    reasons = Counter(kind_of_reason(entry["reason"]) for entry in _entries(manifest.bad_file, manifest.bad))
    return {
        "state": "complete" if manifest.done else "incomplete",
        "note": note,
        **report,
        "found": manifest.request["records"][1],
        "read": manifest.next,
        "excluded": {"ids": excluded["ids"], "pictures": excluded["pictures"], "tests": dict(sorted(tests.items()))},
        "bad": manifest.bad,
        "bad_reasons": dict(reasons.most_common(_REASONS)),
        "packed": manifest.records,
        **{name: counts[name] for name in COUNTS[1:]},
        "unusable_elements": counts["unusable_elements"],
        "low_contrast": counts["low_contrast"],
        "shards": len(manifest.shards),
        "bytes": sum(shard["bytes"] for shard in manifest.shards),
    }


def report_on_test(fingerprint: DatasetFingerprint) -> dict[str, Any]:
    """The report on a test set: how many images are compared, and which cannot be."""
    return {
        "state": "complete",
        "records": len(fingerprint.ids),
        "images": len(fingerprint.hashes),
        "low_contrast": fingerprint.low_contrast,
        "bad": len(fingerprint.bad),
        "bad_reasons": dict(Counter(kind_of_reason(one.reason) for one in fingerprint.bad).most_common(_REASONS)),
    }


def kind_of_reason(reason: str) -> str:
    """A reason without the numbers, names and paths of its record, so that like ones are counted together."""
    reason = re.sub(r"'[^']*'|\"[^\"]*\"|\S*/\S*", "...", reason.splitlines()[0] if reason else "")
    return re.sub(r"\d[\d.,]*", "N", reason)[:100]


def _entries(file: Path, count: int) -> Sequence[dict[str, Any]]:
    if not count:
        return
    with file.open(encoding="utf-8") as lines:
        for _, line in zip(range(count), lines, strict=False):
            yield json.loads(line)


def format_list_report(report: Mapping[str, Any]) -> str:
    """A report on a list as Markdown: a table of sets, a table of test sets, and what was left out for which reason."""
    rows = [_row(name, one) for name, one in report["sets"].items()]
    lines = ["# Pre-training set", "", *_table(_COLUMNS, rows), ""]
    lines += [f"Left out by --without: {', '.join(report['without'])}.", ""] if report["without"] else []
    lines += ["Published: images as the config states them; those of texts and boxes stand behind a slash.", ""]
    tests = [
        (
            name,
            one["state"],
            *(f"{one[key]:,}" if key in one else "-" for key in ("records", "images", "low_contrast", "bad")),
        )
        for name, one in report["tests"].items()
    ]
    lines += _table(("test set", "state", "records", "images", "too little contrast", "bad"), tests)
    for name, one in [*report["sets"].items(), *report["tests"].items()]:
        left_out = one.get("excluded", {}).get("tests", {})
        details = [f"{count:,} shown by {test}" for test, count in left_out.items()]
        details += [f"{count:,} bad: {reason}" for reason, count in one.get("bad_reasons", {}).items()]
        if one.get("unusable_elements"):
            details.append(f"{one['unusable_elements']:,} elements dropped: no box inside the image, or no text")
        if one.get("note"):
            details.insert(0, one["note"])
        lines += ["", f"## {name}", "", *(f"- {detail}" for detail in details)] if details else []
    return "\n".join(lines) + "\n"


def _row(name: str, one: Mapping[str, Any]) -> tuple[str, ...]:
    published = one["published"]
    images = f"{published['images']:,}" if "images" in published else "-"
    if one["state"] == "absent":
        return name, "absent", "-", images, *["-"] * (len(_COLUMNS) - 4)
    texts = [f"{one[key]:,}" + (f" / {published[key]:,}" if key in published else "") for key in COUNTS[1:]]
    excluded = one["excluded"]
    return (
        *(name, one["state"], f"{one['found']:,}", images),
        *(f"{count:,}" for count in (excluded["ids"], excluded["pictures"], one["bad"], one["packed"])),
        *texts,
        *(f"{one['shards']:,}", f"{one['bytes'] / 1e9:.3g}"),
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)]
    return [
        f"| {lines[0]} |",
        "|" + "|".join("-" * (width + 2) for width in widths) + "|",
        *(f"| {line} |" for line in lines[1:]),
    ]
