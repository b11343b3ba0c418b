"""From a config and a checkpoint to the parts that answer."""

from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import nn

from x2vlm.building import ConfigError, build, suggestion
from x2vlm.data.transforms.image import LoadImage
from x2vlm.registry import TRANSFORMS
from x2vlm.weights import LoadReport, load_into


def load_weights(model: nn.Module, checkpoint: str | PathLike) -> LoadReport:
    """Fill a model with the weights of a checkpoint, ours or published; nothing in the file is run.

    Returns:
        What was loaded.

    Raises:
        CheckpointError: If there is no such file, it cannot be read, or it lacks a parameter of the model.
    """
    return load_into(model, checkpoint, complete=True)


def choose_pipeline(evaluations: Mapping[str, Any], name: str | None) -> tuple[str, list[Any]]:
    """An evaluation and its pipeline, built: the named one, or the first that shows pictures."""
    if name is not None and name not in evaluations:
        known = ", ".join(evaluations) or "none"
        raise ConfigError(f"there is no '{name}'.{suggestion(name, evaluations)} There are: {known}.", "evaluations")
    for key in evaluations if name is None else [name]:
        path = f"evaluations.{key}.dataset.pipeline"
        steps = evaluations[key].get("dataset", {}).get("pipeline", ())
        pipeline = [build(TRANSFORMS, step, f"{path}[{i}]") for i, step in enumerate(steps)]
        if name is not None or any(isinstance(step, LoadImage) for step in pipeline):
            return key, pipeline
    raise ConfigError(
        "no evaluation loads images (LoadImage): their pipeline is what a picture goes through.", "evaluations"
    )
