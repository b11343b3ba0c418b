"""Trained models by the names of their files: a folder, or a config and a checkpoint."""

from os import PathLike
from pathlib import Path
from typing import Any

from mmengine.config import Config

import x2vlm
from x2vlm.building import ConfigError, build
from x2vlm.inference.preprocessing import Preprocessing, preprocessing_of_config
from x2vlm.models.pretrained.model_folder import load_pretrained
from x2vlm.registry import MODELS, TOKENIZERS
from x2vlm.weights import load_into

Source = str | PathLike | Config


def open_model(
    model: Source, checkpoint: str | PathLike | None = None, evaluation: str | None = None
) -> tuple[Any, Any, Preprocessing]:
    """A trained model, its tokenizer, and how images and texts are prepared for it.

    Args:
        model: A folder that ``save_pretrained`` wrote; or a config, or its file, with ``checkpoint``.
        checkpoint: What training wrote.
        evaluation: See :func:`~x2vlm.inference.preprocessing.preprocessing_of_config`.

    Raises:
        ConfigError: If the config cannot work, or a checkpoint is missing or too much.
        CheckpointError: If there are no such weights, or they are of another model.
    """
    if not isinstance(model, Config) and Path(model).expanduser().is_dir():
        if checkpoint is not None:
            raise ConfigError(f"{model} is a model folder, which has its weights: leave the checkpoint out.")
        net = load_pretrained(model)
        return net, net.tokenizer, Preprocessing.of_model(net)
    if not isinstance(model, Config) and Path(model).suffix != ".py":
        raise ConfigError(f"{model} is neither a model folder nor a config file (.py).")
    if checkpoint is None:
        raise ConfigError(
            f"{'a config' if isinstance(model, Config) else model} alone has no weights: give a checkpoint."
        )
    cfg = model if isinstance(model, Config) else x2vlm.load_config(model)
    tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer") if cfg.get("tokenizer") else None
    net = build(MODELS, cfg.model, "model", tokenizer=tokenizer)
    load_into(net, checkpoint, complete=True)
    return net.eval(), tokenizer, preprocessing_of_config(cfg, net, evaluation)
