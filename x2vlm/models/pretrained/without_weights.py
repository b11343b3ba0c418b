"""A model's config with fresh weights everywhere: what it builds reads and downloads no weights."""

import copy
from collections.abc import Mapping
from typing import Any

from x2vlm.building import ConfigError, build
from x2vlm.models.pretrained.portable_config import PARTS, SOURCES
from x2vlm.registry import TOKENIZERS

_LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {"max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1}
KNOWN_TEXT_ENCODERS = {
    "bert-base-uncased": {"model_type": "bert", "vocab_size": 30522},
    "bert-large-uncased": {"model_type": "bert", "vocab_size": 30522} | _LARGE,
    "roberta-base": {"model_type": "roberta", "vocab_size": 50265} | _ROBERTA,
    "xlm-roberta-base": {"model_type": "xlm-roberta", "vocab_size": 250002} | _ROBERTA,
    "xlm-roberta-large": {"model_type": "xlm-roberta", "vocab_size": 250002} | _ROBERTA | _LARGE,
}
"""Configurations (as of transformers) of text encoders that configs name without sizes."""


def without_weights(model: Mapping[str, Any] | None) -> dict[str, Any]:
    """A model's config with fresh weights everywhere: no file is read for a text encoder of a known name.

    Raises:
        ConfigError: If there is no model, or the sizes of the text encoder are not known.
    """
    if model is None:
        raise ConfigError("is missing: this config builds no model.", "model")
    cfg = copy.deepcopy(model.to_dict() if hasattr(model, "to_dict") else dict(model))
    for part in PARTS:
        if cfg.get(part):
            cfg[part] = {key: value for key, value in cfg[part].items() if key not in SOURCES}
    text = cfg.get("text_encoder")
    if text and text.get("path"):
        text["config"] = _text_config(text.pop("path"))
        if (layers := text.pop("layers", None)) is not None:
            text["config"]["num_hidden_layers"] = len(layers)
    return cfg


def tokenizer_as_large(cfg: Mapping[str, Any] | None) -> Any:
    """The tokenizer of a config, or one of equal size with other words for those of a known name: to count by."""
    path = None if cfg is None else cfg.get("path")
    if path not in KNOWN_TEXT_ENCODERS:
        return None if cfg is None else build(TOKENIZERS, cfg, "tokenizer")
    words = [f"word{i}" for i in range(KNOWN_TEXT_ENCODERS[path]["vocab_size"] - 5)]
    return build(TOKENIZERS, {"type": "BertVocab", "vocab": words}, "tokenizer")


def _text_config(path: str) -> dict[str, Any]:
    if path in KNOWN_TEXT_ENCODERS:
        return dict(KNOWN_TEXT_ENCODERS[path])
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path, trust_remote_code=False).to_dict()
    except OSError as error:
        names = ", ".join(KNOWN_TEXT_ENCODERS)
        raise ConfigError(
            f"{path!r} is neither a folder nor one of: {names}. Its sizes are not known.", "model.text_encoder.path"
        ) from error
