"""The page of the architecture lists the files that a batch of regions passes; here a training step passes them."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from x2vlm.config import load_config
from x2vlm.engine.runner_builder import build_runner

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = f"{ROOT / 'x2vlm'}/"
PIPELINE = [
    dict(type="LoadImage"),
    dict(type="PickRegions", max_regions=5, max_words=40),
    dict(type="Flip", careful=False),
    dict(type="Resize", size=64),
    dict(type="RandAugment", ops="colour"),
    dict(type="PackSample"),
]


def listed():
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split("## The way of a batch")[1].split("\n## ")[0]
    return re.findall(r"^- (?:\*\*)?`([\w/.]+)`", section, flags=re.MULTILINE)


class Trace:
    """A profile function: files of the library in the order of first calls, in the second step of a training run."""

    def __init__(self):
        self.files, self.draws, self.is_on = [], 0, False

    def __call__(self, frame, event, argument):
        code = frame.f_code
        if not code.co_filename.startswith(LIBRARY):
            return
        file = code.co_filename.removeprefix(LIBRARY)
        if event == "call":
            if (file, code.co_name) == ("data/streams.py", "__next__"):
                self.draws += 1
                self.is_on = self.draws == 2  # the first step imports, probes and builds
            if self.is_on and file not in self.files:
                self.files.append(file)
        elif event == "return" and (file, code.co_name) == ("engine/train_step.py", "__call__"):
            self.is_on = False


@pytest.fixture
def runner(tmp_path):
    """Of the demo with one stream, which reads regions from annotation lines."""
    rng = np.random.default_rng(0)
    elements = [{"bb": [5, 5, 30, 30], "caption": "a red circle"}, {"bb": [20, 30, 40, 30], "caption": "a blue square"}]
    with (tmp_path / "regions.jsonl").open("w") as lines:
        for number in range(8):
            Image.fromarray(rng.integers(0, 255, (80, 80, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
            record = {"image": f"{number}.png", "image_id": number, "width": 80, "height": 80, "elems": elements}
            lines.write(json.dumps(record) + "\n")
    cfg = load_config(ROOT / "configs" / "demo" / "toy_pretrain.py")
    region = cfg.streams.region
    region.dataset = dict(
        type="JsonLines", ann_file=str(tmp_path / "regions.jsonl"), image_root=str(tmp_path), pipeline=PIPELINE
    )
    region.update(batch_size=4, max_images=3, num_workers=0)
    cfg.streams, cfg.work_dir = dict(region=region), str(tmp_path / "run")
    cfg.train_cfg = dict(type="MixedTrainLoop", max_iters=2)
    cfg.pop("evaluations")
    return build_runner(cfg)


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="a step on a GPU passes other kernels")
def test_a_step_passes_the_files_that_the_page_lists_in_their_order(runner):
    trace = Trace()
    sys.setprofile(trace)
    try:
        runner.train()
    finally:
        sys.setprofile(None)
    assert trace.files == listed()


def test_every_listed_file_exists():
    files = listed()
    assert files and len(set(files)) == len(files)
    assert not [file for file in files if not (ROOT / "x2vlm" / file).is_file()]
