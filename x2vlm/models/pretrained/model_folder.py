"""Write a model into a folder and read it back: config, weights, tokenizer, model card."""

import json
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from x2vlm import __version__
from x2vlm.building import build, import_locations, join_path
from x2vlm.models.pretrained.model_card import write_model_card
from x2vlm.models.pretrained.portable_config import model_config
from x2vlm.registry import (
    ATTENTION_BACKENDS,
    FUSION_ENCODERS,
    MODELS,
    OBJECTIVES,
    SEARCHES,
    TEXT_ENCODERS,
    TOKENIZERS,
    VISION_ENCODERS,
)
from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.load_weights import prepare, put
from x2vlm.weights.read_weights import read_tensors, write_tensors

CONFIG, WEIGHTS = "config.json", "model.safetensors"


MODEL_TYPE = "x2vlm"  # what transformers' Auto classes look for in config.json


_FAMILIES = (
    MODELS,
    VISION_ENCODERS,
    TEXT_ENCODERS,
    FUSION_ENCODERS,
    OBJECTIVES,
    ATTENTION_BACKENDS,
    SEARCHES,
    TOKENIZERS,
)


def save_pretrained(
    model: nn.Module, folder: str | Path, tokenizer: Any = None, card: Mapping[str, Any] | None = None
) -> None:
    """Write a model into a folder, with all that is needed to build it again, and no paths of this machine.

    Args:
        model: A model that was built from configs, not from built parts; it stores them as ``arguments``.
        folder: Is made; files of an earlier model in it are replaced.
        tokenizer: Its tokenizer; the one it was built with where not given.
        card: What the model card says, see :func:`~x2vlm.models.pretrained.model_card.write_model_card`.

    Raises:
        ConfigError: If a part was given built, or names a file of this machine.
    """
    folder = Path(folder)
    config: dict[str, Any] = {"x2vlm": __version__, "model_type": MODEL_TYPE, "model": model_config(model)}
    if getattr(model, "preprocessing", None):
        config["preprocessing"] = model.preprocessing
    tokenizer = tokenizer if tokenizer is not None else getattr(model, "tokenizer", None)
    folder.mkdir(parents=True, exist_ok=True)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(folder))
        _remove_origin(folder / "tokenizer_config.json")
        config["tokenizer"] = {"type": "HFTokenizer", "path": "."}
    write_tensors(folder / WEIGHTS, model.state_dict())
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    write_model_card(model, folder, config, **(card or {}))


def load_pretrained(folder: str | Path) -> nn.Module:
    """The model of a folder that :func:`save_pretrained` wrote, in evaluation mode, with its ``tokenizer``.

    Raises:
        CheckpointError: If a file is missing or damaged, a single tensor is missing, left over or of another size, or
            the config names a type that is no registered part.
        ConfigError: If the config cannot be built here (a plugin that is not installed, for example).
    """
    folder = Path(folder).expanduser()
    try:
        config = json.loads((folder / CONFIG).read_text("utf-8"))
        settings, words = config["model"], config.get("tokenizer")
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} has no {CONFIG}: expected a folder that save_pretrained wrote.") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{folder / CONFIG} is not what save_pretrained writes: {error!r}.") from error
    refuse_unregistered({"model": settings, "tokenizer": words}, folder / CONFIG)
    tokenizer = None
    if words is not None:
        tokenizer = build(TOKENIZERS, words | {"path": str(folder / words["path"])}, "tokenizer")
    model = build(MODELS, settings, "model", tokenizer=tokenizer)
    prepared = prepare(model, read_tensors(folder / WEIGHTS), source=str(folder / WEIGHTS), complete=True)
    if prepared.report.left_out or prepared.report.resized or prepared.report.kind:
        raise CheckpointError(f"{folder / WEIGHTS} is not of the model in {CONFIG}:\n{prepared.report}")
    put(model, prepared.tensors)
    model.preprocessing = config.get("preprocessing")
    return model.eval()


def refuse_unregistered(config: Any, file: Path, path: str = "") -> None:
    """Check that the types in a config are registered parts of this library, or of imported plugins.

    The config of a run may name anything that can be imported. That of a downloaded model may not: it could run code.

    Raises:
        CheckpointError: If a type is no registered part.
    """
    if isinstance(config, Mapping):
        type_ = config.get("type")
        if type_ is not None and (not isinstance(type_, str) or not _is_registered(type_)):
            raise CheckpointError(
                f"{file}: {path}.type is {type_!r:.80}, which is no registered part of a model: it was not made. If it "
                "is of a plugin that you trust, import that first; commands import what they find (docs/plugins.md)."
            )
        for key, value in config.items():
            refuse_unregistered(value, file, join_path(path, str(key)))
    elif isinstance(config, list):
        for number, value in enumerate(config):
            refuse_unregistered(value, file, f"{path}[{number}]")


def _is_registered(type_: str) -> bool:
    for family in _FAMILIES:
        import_locations(family)
    module = type_.rpartition(".")[0]
    if module.partition(".")[0] in ("x2vlm", "plugins"):  # what is installed here, and registers itself
        with suppress(ImportError):
            import_module(module)
    registered = [(name, part) for family in _FAMILIES for name, part in family.module_dict.items()]
    return any(type_ in (name, f"{part.__module__}.{part.__qualname__}") for name, part in registered)


def _remove_origin(file: Path) -> None:
    """Remove the folder that a tokenizer was read from from its settings."""
    if not file.is_file():
        return
    settings = json.loads(file.read_text("utf-8"))
    kept = {key: value for key, value in settings.items() if not (isinstance(value, str) and Path(value).is_absolute())}
    kept.pop("name_or_path", None)
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", "utf-8")
