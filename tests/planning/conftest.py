"""The configs of the engine tests, and published ones."""

import pytest

from tests.engine.conftest import config, train, unformatted_configs
from x2vlm.config import load_config

__all__ = ["config", "train", "unformatted_configs"]


@pytest.fixture
def pretrain(root):
    return lambda name: load_config(root / "configs" / "pretrain" / f"{name}.py")
