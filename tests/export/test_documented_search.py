"""The search with onnxruntime alone that docs/inference.md shows finds what the library finds."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.inference.conftest import cfg, checkpoint

__all__ = ["cfg", "checkpoint"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "inference.md"


@pytest.mark.slow
def test_the_search_of_the_page_ranks_images_as_the_library_does(cfg, checkpoint, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from x2vlm.commands.export import main
    from x2vlm.inference import Inferencer

    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for number in range(6):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    cfg.dump(tmp_path / "config.py")
    assert main(["config.py", "work_dirs/onnx", "--checkpoint", str(checkpoint)]) == 0
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "onnxr" in block)
    capsys.readouterr()
    exec(compile(code, PAGE.name, "exec"), {})
    found = [line.split() for line in capsys.readouterr().out.splitlines()]
    expected = Inferencer.from_checkpoint(cfg, checkpoint).retrieve("a red car", "photos", rerank=0)
    assert [path for _, path in found] == [one.image for one in expected]
    np.testing.assert_allclose([float(score) for score, _ in found], [one.similarity for one in expected], atol=0.01)
