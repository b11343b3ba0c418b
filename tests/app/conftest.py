"""A tiny model that is served, with a folder of three images."""

import numpy as np
import pytest
from PIL import Image

from tests.inference.conftest import cfg, checkpoint

__all__ = ["cfg", "checkpoint"]


@pytest.fixture
def folder(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        array = np.random.default_rng(number).integers(0, 256, (20, 30, 3), dtype=np.uint8)
        Image.fromarray(array).save(photos / f"{number}.png")
    return photos


@pytest.fixture
def service(cfg, checkpoint, folder, tmp_path):
    pytest.importorskip("gradio")
    from x2vlm.app.service import Service
    from x2vlm.inference import Inferencer

    return Service(Inferencer.from_checkpoint(cfg, checkpoint), folder, tmp_path / "index")
