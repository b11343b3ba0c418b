"""Whether data fit the model that is built: lengths of texts, numbers of classes. Seen before the first step."""

from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from torch import nn

from x2vlm.building import ConfigError
from x2vlm.engine.distributed.model_wrapper import unwrap_model


def check_data_fit(model: nn.Module, path: str, dataset: Any, collate: Any, objectives: Any = None) -> None:
    """Compare a stream or an evaluation with the model; texts and labels without a limit get that of the model.

    Args:
        model: The model, wrapped or not.
        path: Where the data stand in the config, for messages.
        dataset: The adapter; labels that are numbers are bad records from the number of classes on.
        collate: The collate function; ``max_tokens=None`` becomes what the text encoder has positions for.
        objectives: Names of the objectives that the data are for; None for all.

    Raises:
        ConfigError: If texts may be longer than the text encoder's positions, or there are more classes than the
            objective counts.
    """
    inner = unwrap_model(model)
    most = most_positions(getattr(inner, "text_encoder", None))
    if most is not None and hasattr(collate, "max_tokens"):
        _check_length(path, collate, most)
    there = dict(getattr(inner, "objectives", {}))
    for name in there if objectives is None else objectives:
        counted = getattr(there.get(name), "num_classes", None)
        if not isinstance(counted, int) or counted < 2:
            continue
        _limit_labels(dataset, counted)
        for option, classes in classes_of(dataset):
            if classes > counted:
                raise ConfigError(
                    f"{option} has classes up to number {classes - 1}, but model.objectives.{name}.num_classes is "
                    f"{counted}. Set it to {classes}.",
                    f"{path}.dataset",
                )


def most_positions(text_encoder: Any) -> int | None:
    """How many tokens a text encoder has positions for; None where it has no table of them."""
    table = getattr(getattr(getattr(text_encoder, "net", None), "embeddings", None), "position_embeddings", None)
    return table.num_embeddings - text_encoder.first_position if isinstance(table, nn.Embedding) else None


def classes_of(dataset: Any) -> Iterator[tuple[str, int]]:
    """What names classes in a data set and its pipeline, and one more than the greatest number it gives."""
    parts = [("pipeline", step) for step in getattr(dataset, "pipeline", ())]
    for option, part in [("dataset", dataset), *parts]:
        classes = getattr(part, "classes", None)
        if isinstance(classes, dict) and classes and all(type(number) is int for number in classes.values()):
            yield (
                f"{type(part).__name__}.classes" if option == "pipeline" else type(part).__name__,
                (max(classes.values()) + 1),
            )
    for inner in getattr(dataset, "datasets", ()):
        yield from classes_of(inner)


def _limit_labels(dataset: Any, num_classes: int) -> None:
    """Let the steps of a pipeline that read classes as numbers refuse those that the objective does not count."""
    for step in getattr(dataset, "pipeline", ()):
        if getattr(step, "num_classes", 0) is None:
            step.num_classes = num_classes
    for inner in getattr(dataset, "datasets", ()):
        _limit_labels(inner, num_classes)


def _check_length(path: str, collate: Any, most: int) -> None:
    if collate.max_tokens is None:
        collate.max_tokens = most
        message = f"{path}: texts without a limit (max_tokens=None) are cut at the {most} positions of the text encoder"
        print_log(message, logger="current")
    elif collate.max_tokens > most:
        raise ConfigError(
            f"max_tokens is {collate.max_tokens}, but the text encoder has {most} positions. Lower it to {most}.",
            f"{path}.collate",
        )
