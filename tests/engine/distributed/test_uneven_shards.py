"""Shards of unequal length, with a broken image, read by two processes."""

import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[3]


def write_shard(folder: Path, name: str, records: range, broken: int | None = None) -> None:
    image = io.BytesIO()
    Image.new("RGB", (8, 8), (255, 0, 0)).save(image, "PNG")
    lines = []
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for number in records:
            content = image.getvalue()[: 30 if number == broken else None]
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            line = {"key": str(number), "shard": f"{name}.tar", "member": member.name, "captions": ["1 2 3"]}
            lines.append(json.dumps(line))
    (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_two_processes_make_equally_many_steps_and_read_every_record_once_a_pass(tmp_path):
    write_shard(tmp_path, "long", range(9), broken=4)
    write_shard(tmp_path, "short", range(9, 13))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command += [str(ROOT / "tests" / "engine" / "distributed" / "shards_run.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-4000:]
    first, second = (json.loads((tmp_path / f"read_{number}.json").read_text()) for number in range(2))
    assert len(first) == len(second) == 13  # two passes over 13 records
    for steps in (first, second):
        assert all(len(step["read"]) == 1 for step in steps)
    # They take turns; in the turn of a broken record another one is read.
    drawn = [(step["bad"] or step["read"])[0] for both in zip(first, second, strict=True) for step in both]
    everything = {f"long.jsonl:{n}" for n in range(1, 10)} | {f"short.jsonl:{n}" for n in range(1, 5)}
    assert {Path(record).name for record in drawn[:13]} == everything
    assert {Path(record).name for record in drawn[13:26]} == everything
