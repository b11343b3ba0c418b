"""The data pipeline of an evaluation, built from its config for single images or clips."""

from collections.abc import Mapping
from typing import Any

from x2vlm.building import ConfigError, build, suggestion
from x2vlm.data.transforms.image import LoadImage
from x2vlm.registry import TRANSFORMS


def build_pipeline(evaluations: Mapping[str, Any], name: str | None) -> tuple[str, list[Any]]:
    """The name of an evaluation and its pipeline, built: evaluation ``name``, or the first that loads images.

    Raises:
        ConfigError: If there is no such evaluation.
    """
    if name is not None and name not in evaluations:
        available = ", ".join(evaluations) or "none"
        message = f"there is no '{name}'.{suggestion(name, evaluations)} There are: {available}."
        raise ConfigError(message, "evaluations")
    for key in evaluations if name is None else [name]:
        path = f"evaluations.{key}.dataset.pipeline"
        steps = evaluations[key].get("dataset", {}).get("pipeline", ())
        pipeline = [build(TRANSFORMS, step, f"{path}[{i}]") for i, step in enumerate(steps)]
        if name is not None or any(isinstance(step, LoadImage) for step in pipeline):
            return key, pipeline
    raise ConfigError("no evaluation loads images (LoadImage): its pipeline would prepare the image.", "evaluations")
