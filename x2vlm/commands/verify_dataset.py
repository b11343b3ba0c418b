"""``verify-dataset``: read and decode a whole data set, and print statistics and every record that cannot be used.

Exit status: 0 if all is well; 1 if more than --max-bad of the records cannot be used, or boxes follow another
convention; 2 if nothing could be read. Of public data sets it says where the copy differs from the published counts.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from x2vlm.building import ConfigError
from x2vlm.commands.shared.dataset_sources import HELP, DatasetSource, add_source_options, open_sources

if TYPE_CHECKING:
    from x2vlm.data.datasets.base import Adapter

_MARKS = ("p0", "p5", "p50", "p95", "p100")


def main(argv: Sequence[str] | None = None) -> int:
    """Verify data sets; returns the exit status."""
    args = _parse(argv)
    with contextlib.redirect_stdout(sys.stderr) if args.json else contextlib.nullcontext():  # logs are no JSON
        status, reports = _run(args)
    if args.json and reports:
        sys.stdout.write(json.dumps(reports, indent=2, ensure_ascii=False) + "\n")
    return status


def _run(args: argparse.Namespace) -> tuple[int, dict[str, Any]]:
    try:
        sources = open_sources(args.source, args.cfg_options, args.stream, pipelines=True)
    except (ConfigError, FileNotFoundError) as error:
        sys.stderr.write(f"{error}\n")
        return 2, {}
    reports = {}
    for source in sources:
        reports[source.name] = report = verify(source, args.workers, args.max_bad)
        if not args.json:
            sys.stdout.write(format_report(source.name, report, args.named))
            sys.stdout.flush()
    return int(not all(report["ok"] for report in reports.values())), reports


def verify(source: DatasetSource, workers: int = 0, max_bad: float = 0.0) -> dict[str, Any]:
    """The report on one data set: counts, percentiles, repeated identities, records and elements that cannot be used.

    Args:
        source: The data set; with the pipeline of a config, a record is bad where training would skip it.
        workers: Processes that read.
        max_bad: Largest share of bad records of a data set that is ``ok``.
    """
    from x2vlm.data.inspection.dataset_report import DatasetReport
    from x2vlm.data.inspection.map_records import map_records
    from x2vlm.data.inspection.record_facts import ExtractFacts

    statistics = DatasetReport()
    for result in map_records(source.adapter, ExtractFacts(), workers):
        statistics.add(result, source.adapter)
    repeated, examples = statistics.duplicates(source.adapter)
    convention = statistics.convention()
    return {
        "ok": len(statistics.bad) <= max_bad * statistics.records and not convention,
        "convention": convention,
        "published": published_difference(source.adapter),
        "split_files": [{"where": one.where, "reason": one.reason} for one in statistics.split_files],
        "records": statistics.records,
        "bad": len(statistics.bad),
        "unusable_elements": len(statistics.unusable),
        "kinds": dict(statistics.kinds),
        "languages": dict(statistics.languages),
        "repeated_ids": repeated,
        "repeated": examples,
        "figures": statistics.percentiles(),
        "bad_records": [{"where": bad.where, "reason": bad.reason} for bad in statistics.bad],
        "unusable": [{"where": bad.where, "reason": bad.reason} for bad in statistics.unusable],
    }


def published_difference(adapter: "Adapter") -> str:
    """In a sentence, by how many records a copy differs from what was published; empty where that is not known."""
    from x2vlm.data.datasets.numbered_adapter import NumberedAdapter

    expected = adapter.published_count() if isinstance(adapter, NumberedAdapter) else None
    if expected is None:
        return ""
    here, split = len(adapter), adapter.split_name
    if here == expected:
        return f"{split}: all {expected:,} published records are here"
    return f"{split}: {expected:,} records were published, {here:,} are here: {abs(expected - here):,} " + (
        "are missing" if here < expected else "too many"
    )


def format_report(name: str, report: Mapping[str, Any], max_listed: int) -> str:
    """A report as text; of long lists of elements the first ``max_listed``."""
    lines = [f"{name}: {report['records']:,} records, {report['bad']:,} of them cannot be used"]
    lines += [f"  {report[key]}" for key in ("published", "convention") if report[key]]
    for title in ("kinds", "languages"):
        if report[title]:
            lines.append(f"  {title}: " + ", ".join(f"{key} {count:,}" for key, count in report[title].items()))
    if report["figures"]:
        lines.append(f"  {'':<12}{'count':>10}{'mean':>10}" + "".join(f"{mark:>10}" for mark in _MARKS))
    for quantity, percentiles in report["figures"].items():
        numbers = "".join(f"{_short(percentiles[mark]):>10}" for mark in ("mean", *_MARKS))
        lines.append(f"  {quantity:<12}{percentiles['count']:>10,}{numbers}")
    lines.append(f"  identities of several records: {report['repeated_ids']:,}")
    for repeated in report["repeated"]:
        lines.append(f"    {repeated['id']}: {repeated['records']} records ({', '.join(repeated['where'])})")
    if report["split_files"]:
        count = len(report["split_files"])
        lines.append(f"  files shown under several identities, which are each other's negatives: {count:,}")
        lines += _listed(report["split_files"], max_listed)
    if report["unusable"]:
        lines.append(f"  elements that cannot be used, in records that can: {report['unusable_elements']:,}")
        lines += _listed(report["unusable"], max_listed)
    if report["bad_records"]:
        lines.append(f"  records that cannot be used: {report['bad']:,}")
        lines += _listed(report["bad_records"], len(report["bad_records"]))  # every one: this is what the tool is for
    return "\n".join(lines) + "\n"


def _listed(records: Sequence[Mapping[str, str]], most: int) -> list[str]:
    lines = [f"    {record['where']}: {record['reason']}" for record in records[:most]]
    return lines + ([f"    ... and {len(records) - most:,} more (--named, --json)"] if len(records) > most else [])


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="x2vlm verify-dataset", description=__doc__)
    parser.add_argument("source", help=HELP)
    parser.add_argument(
        "--stream", action="append", default=[], metavar="NAME", help="only this stream or evaluation; may be repeated"
    )
    parser.add_argument("--max-bad", type=float, default=0.0, help="share of bad records that is in order (default: 0)")
    parser.add_argument("--named", type=int, default=20, help="unusable elements that are listed (default: 20)")
    parser.add_argument("--json", action="store_true", help="for programs: one object, with everything in it")
    add_source_options(parser)
    return parser.parse_args(argv)
