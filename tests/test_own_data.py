"""The commands of docs/own_data.md, each run on images that are drawn here, in little."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from x2vlm.config import load_config

ROOT = Path(__file__).resolve().parents[1]
COLOURS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 70, 200), "yellow": (230, 200, 40)}
SMALL = [
    *("model.vision_encoder.options.depth=1", "model.text_encoder.config.num_hidden_layers=1"),
    *("model.fusion_encoder.depth=1", "model.vision_encoder.image_size=32", "train_cfg.max_iters=2"),
    *("train_cfg.val_interval=2", "default_hooks.checkpoint.interval=2", "streams.image.batch_size=4"),
    *("streams.region.batch_size=4", "streams.region.max_images=2"),
]


def draw(folder, number):
    """Photographs of coloured shapes, their captions and their boxes."""
    captions, boxes = ["file,caption"], ["file,phrase,x,y,width,height"]
    (folder / "photos").mkdir(parents=True)
    for i in range(number):
        colour, shape = list(COLOURS)[i % 4], ("circle", "square")[i // 4 % 2]
        x, y = 10 + 8 * (i % 5), 10 + 6 * (i % 4)
        image = Image.new("RGB", (96, 80), (240, 240, 240))
        pen = ImageDraw.Draw(image)
        (pen.ellipse if shape == "circle" else pen.rectangle)([x, y, x + 30, y + 30], fill=COLOURS[colour])
        image.save(folder / "photos" / f"{i:02d}.png")
        captions.append(f'{i:02d}.png,"A {colour} {shape}, on grey"')
        boxes.append(f"{i:02d}.png,{colour} {shape},{x},{y},30,30")
    (folder / "captions.csv").write_text("\n".join(captions) + "\n")
    (folder / "boxes.csv").write_text("\n".join(boxes) + "\n")


def blocks(language):
    text = (ROOT / "docs" / "own_data.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


RUN_EACH = """
import json, os, subprocess, sys
import torch, transformers  # what every command imports, once for all; nothing is run yet
import x2vlm.data, x2vlm.models, x2vlm.engine
from x2vlm.cli import main

for name, words in json.load(sys.stdin):
    child = os.fork()  # a process of its own for each command, as in a shell
    if not child:
        out = os.open(name, os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1), os.dup2(out, 2)
        if words[0] == "x2vlm":
            status = main(words[1:])
        elif words[0] == "python":
            status = exec(compile(words[1], "docs/own_data.md", "exec"), {"__name__": "__main__"})
        else:
            status = subprocess.call(words)
        sys.stdout.flush()
        os._exit(int(status or 0))
    if os.waitpid(child, 0)[1]:
        sys.exit(f"failed: {words}")
"""


def run(commands, folder):
    """What each command says, in a process of its own, one after the other; the imports are made once."""
    named = [(f"said_{number}.txt", words) for number, words in enumerate(commands)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))}
    env["OMP_NUM_THREADS"] = "1"
    start = [sys.executable, "-c", RUN_EACH]
    done = subprocess.run(start, cwd=folder, env=env, input=json.dumps(named), capture_output=True, text=True)
    said = [(folder / name).read_text() for name, _ in named if (folder / name).exists()]
    assert done.returncode == 0, f"{done.stderr[-500:]}\n{said[-1][-4000:] if said else ''}"
    return said


def small_configs(folder):
    """The configs of the page for images of 32 pixels, where the page's commands look for them."""
    for part in ("base", "finetune"):
        (folder / "configs" / part).mkdir(parents=True)
        for path in (ROOT / "configs" / part).glob("*.py"):
            (folder / "configs" / part / path.name).write_text(path.read_text().replace("=224", "=32"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [16, 2])
def test_every_command_of_the_page_about_own_data_runs(tmp_path, number):
    draw(tmp_path / "data" / "own", number)
    small_configs(tmp_path)
    lines = "\n".join(blocks("bash")[1:]).replace("\\\n", " ").splitlines()
    commands = [shlex.split(line.replace("iter_400", "iter_2")) for line in lines if line.strip()]
    assert len(commands) == 9
    for words in commands:
        if words[1] in ("train", "test", "gallery"):
            words += ["--cfg-options", *SMALL]
    said = run([*commands, ["python", small_program()]], tmp_path)
    assert said[8].count('"where"') >= min(number, 5)
    assert "px, probability" in said[9]
    assert "<img" in (tmp_path / "work_dirs" / "own.html").read_text()


def small_program():
    """The Python of the page, with the same small model."""
    options = {name: int(value) for name, value in (option.split("=") for option in SMALL)}
    program = blocks("python")[-1].replace("iter_400", "iter_2")
    loaded = f"load_config('configs/finetune/own_photos.py', {options!r})"
    load = "import x2vlm\nfrom x2vlm.config import load_config\n"
    return load + program.replace('"configs/finetune/own_photos.py"', loaded)


def test_the_config_that_the_page_writes_out_is_a_config(tmp_path):
    small_configs(tmp_path)
    (tmp_path / "configs" / "finetune" / "own_base.py").write_text(blocks("python")[0])
    cfg = load_config(tmp_path / "configs" / "finetune" / "own_base.py")
    assert cfg.streams.image.dataset.type == cfg.evaluations.retrieval.dataset.type == "ImageTable"
    assert cfg.streams.image.dataset.pipeline[0]["type"] == "LoadImage" and cfg.data_root == "data/own"


def test_the_page_runs_the_commands_that_it_begins_with_again_later():
    first, *later = blocks("bash")
    begins = [line.split()[1] for line in first.splitlines()]
    assert begins == ["verify-dataset", "make-vocab", "train"]
    assert all(any(f"x2vlm {name}" in block for block in later) for name in begins)
