"""The config of a model as plain values, from which it can be built on any machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from x2vlm.building import LAZY, ConfigError, imported
from x2vlm.registry import MODELS

# Arguments of parts that name initial weights; a saved model has its own.
SOURCES = ("checkpoint", "pretrained", "init_from", "init_layers")
PARTS = ("vision_encoder", "text_encoder", "fusion_encoder")


def model_config(model: nn.Module) -> dict[str, Any]:
    """The config of a model, as plain values, from which it can be built anywhere.

    Raises:
        ConfigError: As :func:`~x2vlm.models.pretrained.model_folder.save_pretrained`.
    """
    config = {"type": _type_name(type(model))}
    for name, value in model.arguments.items():
        built = getattr(model, name, None)
        if name in PARTS:
            config[name] = value if value is None else part_config(value, built, f"model.{name}")
        elif name == "objectives":
            config[name] = {
                key: part_config(part, model.objectives[key], f"model.{name}.{key}") for key, part in value.items()
            }
        else:
            config[name] = to_json_value(value, f"model.{name}")
    return config


def part_config(part: Any, built: nn.Module, path: str) -> dict[str, Any]:
    """The config of a part without the sources of its first weights; parts may define it (``portable_config``).

    Raises:
        ConfigError: If it was given built, or names a file.
    """
    if not isinstance(part, Mapping):
        raise ConfigError(
            f"was given as a built {type(built).__name__}, and how to build it again is not known. "
            "Build the model from configs: dict(type=...).",
            path,
        )
    items = dict.items(part) if isinstance(part, dict) else part.items()
    config = {key: value for key, value in items if key not in SOURCES}
    if hasattr(built, "portable_config"):
        config = built.portable_config(config)
    return to_json_value(config, path)


def to_json_value(value: Any, path: str) -> Any:
    """A value of a config as JSON; types by their names.

    Raises:
        ConfigError: If it is an object, or a path that only this machine has.
    """
    if isinstance(value, LAZY):
        value = imported(value)
    if isinstance(value, Mapping):
        raw = dict.items(value) if isinstance(value, dict) else value.items()
        return {str(key): to_json_value(item, f"{path}.{key}") for key, item in raw}
    if isinstance(value, list | tuple | range):
        return [to_json_value(item, f"{path}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, str) and Path(value).is_absolute():
        raise ConfigError(
            f"{value!r} is a path of this machine, and the saved model could not be read elsewhere. "
            "Leave it out, or give the part a method portable_config(config) that does.",
            path,
        )
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, type) or callable(value):
        return _type_name(value)
    raise ConfigError(f"{value!r:.80} is no plain value and cannot be saved.", path)


def _type_name(target: Any) -> str:
    for registry in (MODELS,):
        if registry.module_dict.get(target.__name__) is target:
            return target.__name__
    return f"{target.__module__}.{target.__qualname__}"
