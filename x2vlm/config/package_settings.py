"""Settings that a config hands on to transformers and timm, which take misspelt ones without a word, or only later."""

import inspect
from collections.abc import Iterator
from functools import cache
from typing import Any

from x2vlm.argument_checks import suggestion


def package_problems(tree: dict[str, Any]) -> Iterator[str]:
    """Problems of ``config=`` of an ``HFTextEncoder`` and ``options=`` of a ``TimmVisionEncoder``, with their places.

    Args:
        tree: The config as plain dicts and lists.
    """
    model = tree.get("model") if isinstance(tree.get("model"), dict) else {}
    text, vision = model.get("text_encoder"), model.get("vision_encoder")
    if isinstance(text, dict) and _ends(text, "HFTextEncoder") and isinstance(text.get("config"), dict):
        yield from (f"model.text_encoder.config: {problem}" for problem in _text_problems(text["config"]))
    if isinstance(vision, dict) and _ends(vision, "TimmVisionEncoder") and isinstance(vision.get("options"), dict):
        problem = _timm_problem(vision.get("name"), repr(sorted(vision["options"].items(), key=str)), vision["options"])
        if problem:
            yield f"model.vision_encoder.options: {problem}"


def _ends(part: dict[str, Any], name: str) -> bool:
    return str(getattr(part.get("type"), "__name__", part.get("type"))).rpartition(".")[2] == name


def _text_problems(config: dict[str, Any]) -> Iterator[str]:
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if not isinstance(kind, str):
        return  # HFTextEncoder asks for it
    if kind not in CONFIG_MAPPING:
        yield f"transformers has no model_type '{kind}'.{suggestion(kind, CONFIG_MAPPING.keys())}"
        return
    known = _settings_of(kind)
    for name in config:
        if name not in known:
            yield f"'{kind}' of transformers has no setting '{name}'.{suggestion(name, known)}"


@cache
def _settings_of(kind: str) -> frozenset[str]:
    """Everything that a configuration of transformers reads: its own fields, common ones, and their other names."""
    from transformers import CONFIG_MAPPING

    settings = CONFIG_MAPPING[kind]
    fields = {name for base in settings.__mro__ for name in getattr(base, "__annotations__", ())}
    fields |= {name for base in settings.__mro__[:-1] for name in inspect.signature(base.__init__).parameters}
    return frozenset(fields | set(getattr(settings, "attribute_map", ())) | {"model_type"})


_timm_told: dict[tuple[str, str], str] = {}


def _timm_problem(name: Any, key: str, options: dict[str, Any]) -> str:
    """What timm says when it builds the model without numbers; empty where it does."""
    import timm
    import torch

    if not isinstance(name, str) or not timm.is_model(name):
        return ""  # TimmVisionEncoder names it
    if (name, key) not in _timm_told:
        _timm_told[name, key] = ""
        try:
            with torch.device("meta"):
                timm.create_model(name, **{"num_classes": 0, **options})
        except TypeError as error:
            _timm_told[name, key] = f"timm's {name} does not take them: {error}"
        except Exception:  # some models need numbers to be built; then TimmVisionEncoder tells
            _timm_told[name, key] = ""
    return _timm_told[name, key]
