"""A recipe that begins from other people's weights does not begin without them, unless that is what is wanted."""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from x2vlm.building import ConfigError

SOURCES = ("checkpoint", "pretrained", "path", "init_from")
"""Arguments of parts that say where first weights come from."""
WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.safetensors.index.json", "pytorch_model.bin.index.json")


def check_required(cfg: Mapping[str, Any]) -> None:
    """Refuse to train a recipe from nothing where ``require_pretrained`` names the weights that it begins from.

    ``require_pretrained`` is a dict from a part of the model to the name of its weights and of who published them;
    None (or False) lets a run begin from whatever the parts are made with. A run that begins from a checkpoint
    (``load_from``) or is resumed needs no other weights.

    Raises:
        ConfigError: With a line for every part whose weights are not there, and how to begin without them on purpose.
    """
    required = cfg.get("require_pretrained")
    if not required or cfg.get("load_from") or cfg.get("resume"):
        return
    if not isinstance(required, Mapping):
        raise ConfigError(
            f"is {required!r}; expected a dict from parts of the model to the weights they begin from, or False.",
            "require_pretrained",
        )
    missing = list(_missing(cfg.get("model") or {}, required))
    if missing:
        lines = "\n  ".join(sentence for sentence, _ in missing)
        options = " ".join(["require_pretrained=None", *(option for _, option in missing if option)])
        raise ConfigError(
            f"this recipe begins from weights that are not here:\n  {lines}\n"
            f"To begin from nothing on purpose: --cfg-options {options}",
            "require_pretrained",
        )


def _missing(model: Mapping[str, Any], required: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """A sentence for each part whose weights are not there, and the options that build it without them."""
    there = cache(is_there)  # several parts begin from one source, and the hub is asked for long where there is no net
    for name, weights in required.items():
        part = model.get(name) or {}
        given = {key: part[key] for key in SOURCES if part.get(key)}
        if not given:
            yield f"model.{name}: needs {weights}. Give it by {_how(name)}.", ""
        for key, source in given.items():
            if source is not True and not there(str(source)):
                sentence = f"model.{name}.{key}: {source!r} is not there (looked from {Path.cwd()}); it is {weights}."
                fresh = f" model.{name}.config.model_type=bert" if key == "path" else ""
                yield sentence, f"model.{name}.{key}=None{fresh}"


def _how(name: str) -> str:
    option = {"vision_encoder": "checkpoint=FILE", "text_encoder": "path=FOLDER", "fusion_encoder": "init_from=FOLDER"}
    return f"--cfg-options model.{name}.{option.get(name, 'checkpoint=FILE')}"


def is_there(source: str) -> bool:
    """Whether weights are at hand: a file, a folder with weights, or a name in the hub's cache or reachable on it."""
    path = Path(source).expanduser()
    if path.is_file():
        return True
    if path.is_dir():
        return any((path / name).is_file() for name in WEIGHTS)
    if path.suffix or source.startswith((".", "/", "~")):
        return False
    from huggingface_hub import hf_hub_download, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        if any(isinstance(try_to_load_from_cache(source, name), str) for name in WEIGHTS):
            return True
        hf_hub_download(source, "config.json")
    except (OSError, ValueError, HfHubHTTPError, LocalEntryNotFoundError, HFValidationError):
        return False
    return True
