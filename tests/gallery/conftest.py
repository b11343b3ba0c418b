"""The model and the batches of the evaluation tests."""

from tests.evaluation.conftest import images, make, model, regions, videos

__all__ = ["images", "make", "model", "regions", "videos"]
