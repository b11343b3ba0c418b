"""``metrics.jsonl`` in the work folder: one line for each evaluation."""

import json
from pathlib import Path

METRICS_FILE = "metrics.jsonl"


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; an incomplete last line, of a run that was killed, is removed first."""
    with path.open("a+b") as file:
        file.seek(0)
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
        file.write(f"{line}\n".encode())


def evaluated_iterations(path: Path) -> set[int]:
    """Iterations after which there was an evaluation, from the complete lines of ``metrics.jsonl``."""
    lines = path.read_text("utf-8").split("\n")[:-1] if path.is_file() else []
    return {line["iter"] for line in map(json.loads, lines) if line["mode"] == "val"}
