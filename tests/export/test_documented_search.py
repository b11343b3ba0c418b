"""Search and grounding with onnxruntime alone, as docs/inference.md shows, find what the library finds."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.inference.conftest import cfg, checkpoint

__all__ = ["cfg", "checkpoint"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "inference.md"


@pytest.mark.slow
def test_search_and_boxes_of_the_page_are_the_librarys(cfg, checkpoint, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from x2vlm.commands.export import main
    from x2vlm.inference import Inferencer

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = 6 if number < 3 else 1
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png", exif=exif)
    cfg.dump(tmp_path / "config.py")
    assert main(["config.py", "work_dirs/onnx", "--checkpoint", str(checkpoint)]) == 0
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    search, boxes = (block for block in blocks if "InferenceSession(" in block)
    capsys.readouterr()
    names = {}
    exec(compile(search, PAGE.name, "exec"), names)
    found = [line.split() for line in capsys.readouterr().out.splitlines()]
    inferencer = Inferencer.from_checkpoint(cfg, checkpoint)
    expected = inferencer.retrieve("a red car", "photos", rerank=0)
    assert [path for _, path in found] == [one.image for one in expected]
    np.testing.assert_allclose([float(score) for score, _ in found], [one.similarity for one in expected], atol=0.01)
    exec(compile(boxes, PAGE.name, "exec"), names)
    probability, *corners = capsys.readouterr().out.replace("[", " ").replace("]", " ").split()
    grounding = inferencer.ground(expected[0].image, "a red car")
    assert float(probability) == pytest.approx(grounding.image_probability, abs=0.01)
    assert [float(corner) for corner in corners] == pytest.approx(grounding.box_xyxy_px, abs=0.5)
