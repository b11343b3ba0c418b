"""``check-plugin`` runs what a plugin brings once, and tells in a sentence what breaks its contract."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PART = '''
import torch
from torch import nn
from x2vlm.registry import VISION_ENCODERS


@VISION_ENCODERS.register_module()
class ConvGrid(nn.Module):
    """Patches by one convolution."""

    def __init__(self, image_size=32):
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 8, 8)
        self.width, self.image_size, self.grid = 48, (image_size, image_size), (image_size // 8, image_size // 8)

    def forward(self, images):
        return RESULT
'''


def write_plugin(folder: Path, result: str) -> Path:
    home = folder / "plugins" / "conv_grid"
    home.mkdir(parents=True)
    (home / "__init__.py").write_text("from plugins.conv_grid.encoder import ConvGrid\n")
    (home / "encoder.py").write_text(PART.replace("RESULT", result))
    from x2vlm.config import load_config
    from x2vlm.config_to_python import config_text

    cfg = load_config(ROOT / "configs" / "demo" / "toy_pretrain.py")
    cfg.model.vision_encoder = dict(type="ConvGrid", image_size=64)
    cfg.streams = dict(image=cfg.streams.image)
    cfg.streams.image.batch_size = 2
    cfg.model.num_frames = 0
    cfg.evaluations = dict(image_retrieval=cfg.evaluations.image_retrieval)
    (home / "config.py").write_text(config_text(cfg))
    return home


def run(home: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "tools" / "check_plugin.py"), str(home)]
    return subprocess.run(command, cwd=home.parents[1], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_a_plugin_that_keeps_its_contracts_is_run_once(tmp_path):
    done = run(write_plugin(tmp_path, "self.conv(images).flatten(2).transpose(1, 2), None"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plugin 'conv_grid': ConvGrid" in done.stdout
    assert "config.py: ok (model built, metric of image_retrieval, losses of stream image)" in done.stdout


@pytest.mark.slow
def test_an_installed_package_is_checked_by_its_name_with_a_config_from_anywhere(tmp_path):
    home = write_plugin(tmp_path, "self.conv(images).flatten(2).transpose(1, 2), None")
    package = tmp_path / "site" / "grids"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text((home / "encoder.py").read_text())
    (home / "config.py").rename(tmp_path / "mine.py")
    home.joinpath("__init__.py").unlink()
    metadata = tmp_path / "site" / "grids-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: grids\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[x2vlm.plugins]\nconv_grids = grids\n")
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path / 'site'}", "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(ROOT / "tools" / "check_plugin.py"),
        "conv_grids",
        "--no-data",
        "--config",
        "mine.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "plugin 'conv_grids': ConvGrid" in done.stdout
    assert "mine.py: ok (model built" in done.stdout


@pytest.mark.slow
def test_a_plugin_that_breaks_one_is_told_in_a_sentence_without_a_traceback(tmp_path):
    done = run(write_plugin(tmp_path, "self.conv(images)"))
    assert done.returncode == 1
    assert "model.vision_encoder: ConvGrid.forward returned a Tensor [2, 48, 8, 8] of float32; expected (tokens" in (
        done.stdout
    )
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_that_is_no_plugin_is_told(tmp_path):
    from x2vlm.building import ConfigError
    from x2vlm.commands.check_plugin import check

    with pytest.raises(FileNotFoundError, match=r"is no plugin: it has no __init__\.py"):
        check(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").touch()
    with pytest.raises(ConfigError, match=r"does not lie in a folder 'plugins'. Move it to plugins/mine"):
        check(tmp_path / "mine")


def test_a_plugin_that_is_not_installed_is_told():
    from x2vlm.commands.check_plugin import check

    with pytest.raises(FileNotFoundError, match=r"Nor is a plugin of that name installed"):
        check(Path("nothing_of_that_name"))
