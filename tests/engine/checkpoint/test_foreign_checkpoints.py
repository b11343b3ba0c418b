"""Checkpoints from somewhere else end in a sentence, and nothing in them is run."""

import pytest
import torch

from x2vlm.config import load_config
from x2vlm.engine import build_runner
from x2vlm.weights.checkpoint_file import CheckpointError


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (self.target, "w")


@pytest.mark.parametrize(
    ("content", "message"),
    [("evil", "was not opened further"), ("other", "of another model"), ("text", "was not opened further|is damaged")],
)
def test_a_foreign_file_is_refused_and_not_run(content, message, root, tmp_path):
    file, created = tmp_path / "x.pth", tmp_path / "created"
    if content == "text":
        file.write_text("not a checkpoint")
    else:
        torch.save({"state_dict": Evil(str(created)) if content == "evil" else {"a": torch.zeros(1)}}, file)
    cfg = load_config(root / "configs" / "demo" / "toy_pretrain.py")
    cfg.work_dir, cfg.load_from, cfg.visualizer = str(tmp_path / "run"), str(file), None
    with pytest.raises(CheckpointError, match=message):
        build_runner(cfg).load_checkpoint(str(file))
    assert not created.exists()


def test_a_checkpoint_is_not_fetched_from_a_network(root, tmp_path):
    cfg = load_config(root / "configs" / "demo" / "toy_pretrain.py")
    cfg.work_dir, cfg.visualizer = str(tmp_path), None
    with pytest.raises(CheckpointError, match="not a local file"):
        build_runner(cfg).load_checkpoint("https://example.org/x.pth")
