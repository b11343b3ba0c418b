"""The configs of the engine tests."""

from tests.engine.conftest import config, train, unformatted_configs

__all__ = ["config", "train", "unformatted_configs"]
