"""A real run over a data set of which a part is broken: counted right whatever the workers and processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from x2vlm.config import load_config
from x2vlm.data.bad_record_log import BadRecordLog
from x2vlm.data.datasets.file_formats.jsonl import JsonLines
from x2vlm.data.replace_bad_records import SeededDataset
from x2vlm.data.sampler import StreamSampler
from x2vlm.data.transforms.images.load_crop_flip import LoadImage, Resize
from x2vlm.data.transforms.pack_sample import PackSample
from x2vlm.data.transforms.texts.text_transforms import PickCaption

RECORDS, ITERATIONS, BATCH = 40, 6, 5
BROKEN = {3: '{"image": "0.png", ', 9: '{"image": "0.png"}', 14: '{"image": "gone.png", "caption": "a"}'}
BROKEN |= {20: '{"image": "torn.png", "caption": "a"}', 27: '{"image": "../0.png", "caption": "a"}', 33: "[1, 2]"}


@pytest.fixture
def data(tmp_path):
    """Forty images with captions, six of them broken, each in another way."""
    Image.new("RGB", (64, 64), (200, 30, 30)).save(tmp_path / "0.png")
    (tmp_path / "torn.png").write_bytes((tmp_path / "0.png").read_bytes()[:80])
    good = '{"image": "0.png", "caption": "a red circle"}'
    (tmp_path / "a.jsonl").write_text("\n".join(BROKEN.get(i, good) for i in range(RECORDS)))
    return tmp_path / "a.jsonl"


@pytest.fixture
def run(root, data, tmp_path):
    """``run(processes, workers, **changes)``: trains the toy model on it as a user does; the exit status and output."""

    def go(processes, workers, **changes):
        cfg = load_config(root / "configs" / "demo" / "toy_pretrain.py")
        steps = [
            dict(type="LoadImage"),
            dict(type="PickCaption"),
            dict(type="Resize", size=64),
            dict(type="PackSample"),
        ]
        cfg.streams = {"image": cfg.streams.image}
        cfg.streams.image.update(batch_size=BATCH, num_workers=workers)
        cfg.streams.image.pop("dataset")
        cfg.streams.image.dataset = dict(type="JsonLines", ann_file=str(data), pipeline=steps)
        cfg.evaluations, cfg.visualizer, cfg.param_scheduler.warmup = {}, None, 0
        cfg.train_cfg.max_iters, cfg.work_dir = ITERATIONS, str(tmp_path / "work")
        cfg.bad_records = dict(max_fraction=0.9) | changes
        cfg.dump(tmp_path / "run.py")
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        words = [*(start if processes > 1 else [sys.executable]), str(root / "tools" / "train.py"), tmp_path / "run.py"]
        launcher = ["--launcher", "pytorch"] if processes > 1 else []
        return subprocess.run([*words, *launcher], cwd=root, capture_output=True, text=True, timeout=200), cfg

    return go


def expected(file: Path, cfg, processes: int) -> tuple[int, int, set[str]]:
    """Records read, bad ones among these, and their lines, from the same draws one by one."""
    adapter = JsonLines(file, pipeline=[LoadImage(), PickCaption(), Resize(64), PackSample()])
    seed = cfg.randomness.seed
    dataset, places = SeededDataset(adapter, "image", seed), iter(StreamSampler(RECORDS, seed, "image"))
    drawn = [dataset[next(places)] for _ in range(ITERATIONS * BATCH * processes)]
    bad = [record.where for one in drawn for record in one.bad]
    return len(drawn) + len(bad), len(bad), set(bad)


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "workers"), [(1, 0), (2, 2)])
def test_a_run_over_broken_data_reports_all_of_it(run, data, tmp_path, processes, workers):
    done, cfg = run(processes, workers)
    assert done.returncode == 0, done.stderr
    read, bad, places = expected(data, cfg, processes)
    report = json.loads((tmp_path / "work" / "bad_records_report.json").read_text())
    assert report == {"image": {"read": read, "bad": bad, "different": len(places)}}
    files = sorted((tmp_path / "work").glob("bad_records*.jsonl"))
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(files) == processes
    assert {line["where"] for line in lines} == places <= {f"a.jsonl:{i + 1}" for i in BROKEN}
    assert all(line["stream"] == "image" and len(line["reason"]) > 10 for line in lines)
    log = "".join(path.read_text() for path in (tmp_path / "work").rglob("*.log"))
    assert f"stream 'image': {bad} of {read} records read could not be used ({len(places)} different ones)" in log


@pytest.mark.slow
def test_a_run_over_data_that_are_too_broken_stops_with_a_list(run, tmp_path):
    done, _ = run(1, 2, max_fraction=0.01, min_records=20)
    assert done.returncode == 1
    assert "max_fraction=0.01 allows" in done.stderr
    assert "Traceback" not in done.stderr
    assert "  a.jsonl:" in done.stderr


def test_what_was_counted_before_a_run_went_on_is_not_counted_again():
    ledger = BadRecordLog()
    ledger.load_state_dict({"image": {"drawn": 10, "bad": 2}})
    assert ledger.since_start() == {"image": (0, 0, [])}
    assert ledger.state_dict() == {"image": {"drawn": 10, "bad": 2}}
