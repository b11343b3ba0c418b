"""What became of the data of a run, at its end: of each stream and evaluation, how many records could not be used."""

import json
from pathlib import Path
from typing import Any

from x2vlm.distributed import all_gather_objects, rank

REPORT = "bad_records_report.json"


def report_bad_records(runner: Any) -> None:
    """Add up the books of all processes, write the sums into the work folder, and log a line for each stream.

    Counted is what was read since the run began or went on: ``read``, ``bad`` of these, and how many ``different``
    records the bad ones were. Their places and reasons are in ``bad_records.jsonl`` (``bad_records_1.jsonl`` and so on
    for the other processes). Every process has to call this.
    """
    books = all_gather_objects(runner.ledger.since_start())
    if rank():
        return
    sums: dict[str, dict[str, int]] = {}
    for stream in dict.fromkeys(name for book in books for name in book):
        parts = [book[stream] for book in books if stream in book]
        places = {place for _, _, found in parts for place in found}
        sums[stream] = {
            "read": sum(read for read, _, _ in parts),
            "bad": sum(bad for _, bad, _ in parts),
            "different": len(places),
        }
    Path(runner.work_dir, REPORT).write_text(json.dumps(sums, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for stream, one in sums.items():
        if one["bad"]:
            runner.logger.warning(
                f"stream '{stream}': {one['bad']:,} of {one['read']:,} records read could not be used "
                f"({one['different']:,} different ones); they are listed in {runner.ledger.file}."
            )
