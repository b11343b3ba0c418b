"""Models by name, as timm and open_clip have them: those of the configs that come with the library.

::

    x2vlm.list_models("*nlvr*")  # ["finetune/x2vlm_base_nlvr2", ...]
    model = x2vlm.create_model("finetune/x2vlm_base_nlvr2", pretrained="x2vlm_base_1b.th")
"""

import logging
from collections.abc import Mapping
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any

from x2vlm.argument_checks import suggestion
from x2vlm.building import ConfigError
from x2vlm.config import load_config
from x2vlm.config.shipped import MODEL_FOLDERS, shipped_configs

log = logging.getLogger("x2vlm")


def list_models(pattern: str = "*") -> list[str]:
    """Names that :func:`create_model` knows: ``finetune/x2vlm_base_nlvr2`` and so on, sorted.

    Args:
        pattern: Of the name, or of its last part: ``"*nlvr*"``, ``"x2vlm_base_*"``, ``"pretrain/*"``.

    Raises:
        ConfigError: If the library's configs are not installed.
    """
    return sorted(name for name in _files() if any(fnmatchcase(part, pattern) for part in (name, _short(name))))


def create_model(
    name: str,
    pretrained: str | PathLike | None = None,
    tokenizer: Any = None,
    overrides: Mapping[str, Any] | None = None,
) -> Any:
    """The model of one of the library's configs, in evaluation mode. No weights are downloaded.

    Args:
        name: One of :func:`list_models`; ``x2vlm_base_nlvr2`` does where there is one of this name.
        pretrained: A checkpoint of a run or of a published release, or a model folder (``save_pretrained``), from
            which the weights are taken. None: all weights are fresh.
        tokenizer: A tokenizer, or the folder of one. None takes that of the model folder, else that of the config; a
            model whose tokenizer cannot be had has none, with a warning, where its objectives can do without.
        overrides: Changes of the config by dotted key: ``{"model.num_frames": 8}``.

    Returns:
        The model, with its ``tokenizer`` and ``preprocessing``: it goes into an ``Inferencer``.

    Raises:
        ConfigError: If there is no such name, an override does not fit, or a part cannot be built.
        CheckpointError: If the weights do not fit. Of those that training with this config may begin from, what is
            missing (``loading`` of the config) stays fresh, with a warning.
    """
    from x2vlm.inference.preprocessing import preprocessing_of_config
    from x2vlm.models.pretrained.model_folder import WEIGHTS

    cfg = load_config(_file(name), dict(overrides or {}))
    folder = None if pretrained is None else Path(pretrained).expanduser()
    is_model_folder = folder is not None and (folder / WEIGHTS).is_file()
    if tokenizer is None and is_model_folder and (folder / "tokenizer_config.json").is_file():
        tokenizer = folder
    model = _built(cfg, tokenizer)
    if folder is not None:
        source = folder / WEIGHTS if is_model_folder else folder
        _load(model, source, cfg.get("loading"))
    model.preprocessing = preprocessing_of_config(cfg, model).to_dict()
    return model.eval()


def _built(cfg: Any, tokenizer: Any) -> Any:
    """The model with fresh weights."""
    from x2vlm.building import build
    from x2vlm.models.pretrained.without_weights import KNOWN_TEXT_ENCODERS, without_weights
    from x2vlm.registry import MODELS, TOKENIZERS

    settings, lacking = without_weights(cfg.model), None
    if isinstance(tokenizer, str | PathLike):
        tokenizer = build(TOKENIZERS, {"type": "HFTokenizer", "path": str(tokenizer)}, "tokenizer")
    elif tokenizer is None and cfg.get("tokenizer"):
        try:
            tokenizer = build(TOKENIZERS, cfg.tokenizer, "tokenizer")
        except (ConfigError, FileNotFoundError) as error:
            lacking = error
            known = KNOWN_TEXT_ENCODERS.get(str(cfg.tokenizer.get("path")))
            if known is None:
                raise ConfigError(
                    f"{error} The size of the vocabulary depends on it: give tokenizer=FOLDER."
                ) from error
            if settings.get("text_encoder"):
                settings["text_encoder"]["config"].setdefault("vocab_size", known["vocab_size"])
    try:
        model = build(MODELS, settings, "model", tokenizer=tokenizer)
    except ConfigError as error:
        if lacking is None:
            raise
        raise ConfigError(f"{error} It needs a tokenizer, but {lacking} Give tokenizer=FOLDER.") from lacking
    if lacking is not None:
        log.warning("%s The model has no tokenizer: give it token ids, or create it with tokenizer=FOLDER.", lacking)
    return model


def _load(model: Any, source: Path, loading: Mapping[str, Any] | None) -> None:
    """All weights of the model; else those from which training with its config begins."""
    from x2vlm.weights import CheckpointError, Loading, load_into

    try:
        log.info("%s", load_into(model, source, complete=True))
    except CheckpointError:
        if not loading:
            raise
        log.warning("%s", load_into(model, source, Loading(**loading)))


def _files() -> dict[str, Path]:
    """The configs by the names of their models."""
    folder = shipped_configs()
    if folder is None:
        raise ConfigError("the library's configs are not installed here: install x2vlm by pip, or use its checkout.")
    return {f"{part}/{file.stem}": file for part in MODEL_FOLDERS for file in folder.glob(f"{part}/[!_]*.py")}


def _file(name: str) -> Path:
    files = _files()
    found = [name] if name in files else [known for known in files if _short(known) == name]
    if len(found) > 1:
        raise ConfigError(f"'{name}' may be {' or '.join(found)}: give the whole name.")
    if not found:
        near = suggestion(name, files if "/" in name else map(_short, files))
        raise ConfigError(f"there is no model '{name}'.{near} x2vlm.list_models() names all {len(files)}.")
    return files[found[0]]


def _short(name: str) -> str:
    return name.rpartition("/")[2]
