"""The config and the checkpoint of the inference tests."""

from tests.inference.conftest import cfg, checkpoint

__all__ = ["cfg", "checkpoint"]
