"""Report of bad records at the end of a run: how many records of each stream and evaluation could not be used."""

import json
from pathlib import Path
from typing import Any

from x2vlm.distributed import all_gather_objects, rank

REPORT = "bad_records_report.json"


def report_bad_records(runner: Any) -> None:
    """Sum the bad-record logs of all processes, write the sums into the work folder, and log a line for each stream.

    Counts are of records read since the run was started or resumed: ``read``, ``bad``, and ``different``, the number of
    distinct bad ones. Their files, lines and reasons are in ``bad_records.jsonl`` (``bad_records_1.jsonl`` and so on
    for other ranks). Every process has to call this.
    """
    logs = all_gather_objects(runner.bad_record_log.since_start())
    if rank():
        return
    sums: dict[str, dict[str, int]] = {}
    for stream in dict.fromkeys(name for log in logs for name in log):
        counts = [log[stream] for log in logs if stream in log]
        sums[stream] = {
            "read": sum(read for read, _, _ in counts),
            "bad": sum(bad for _, bad, _ in counts),
            "different": len({record for _, _, records in counts for record in records}),
        }
    Path(runner.work_dir, REPORT).write_text(json.dumps(sums, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for stream, total in sums.items():
        if total["bad"]:
            runner.logger.warning(
                f"stream '{stream}': {total['bad']:,} of {total['read']:,} records read could not be used "
                f"({total['different']:,} different ones); they are listed in {runner.bad_record_log.file}."
            )
