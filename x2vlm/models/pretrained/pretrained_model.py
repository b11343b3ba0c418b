"""Save and load a model as one folder: ``config.json``, ``model.safetensors``, tokenizer files."""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.model import BaseModel
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
from x2vlm.weights.weight_files import read_tensors, write_tensors

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


class PretrainedModel(BaseModel):
    """A model that can be saved to a folder and loaded from it, and that records which of its parameters are new."""

    _fresh: frozenset[str] | None = None
    preprocessing: dict[str, Any] | None = None
    """How images and texts are prepared, as :class:`~x2vlm.inference.processor.Preprocessing` has it; is saved."""

    @classmethod
    def from_pretrained(cls, folder: str | Path, **hub: Any) -> Any:
        """The model of a folder that :meth:`save_pretrained` wrote, in evaluation mode, with its ``tokenizer``.

        Args:
            folder: A folder, or a repository on the Hugging Face hub (``owner/name``), which is then downloaded.
            hub: ``revision``, ``token``, ``cache_dir`` and the like, for such a repository.

        Raises:
            CheckpointError: If a file is missing or damaged, or any tensor does not fit.
            ConfigError: If it cannot be built here (a plugin that is not installed, for example).
        """
        return load_pretrained(local_folder(folder, **hub))

    def save_pretrained(self, folder: str | Path, tokenizer: Any = None, card: Mapping[str, Any] | None = None) -> None:
        """Write ``config.json``, ``model.safetensors``, the tokenizer's files and a model card: any machine reads them.

        Args:
            folder: Is made; files of an earlier model in it are replaced.
            tokenizer: The one the model was built with where not given.
            card: What the card says, see :func:`~x2vlm.models.pretrained.model_card.write_model_card`: ``data``,
                ``metrics``, ``license``. A ``README.md`` that is there stays as it is.

        Raises:
            ConfigError: If a part was given built, or names a file of this machine.
        """
        save_pretrained(self, folder, tokenizer, card)

    def push_to_hub(self, repo_id: str, private: bool = False, token: str | None = None, **card: Any) -> str:
        """Save the model and upload it to a repository on the Hugging Face hub; returns its address.

        Args:
            repo_id: ``owner/name``; is made if it is not there.
            private: Make it private.
            token: An access token; that of ``hf auth login`` if not given.
            card: As of :meth:`save_pretrained`.
        """
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        repo = api.create_repo(repo_id, private=private, exist_ok=True)
        with TemporaryDirectory() as folder:
            target = Path(folder) / repo_id.rpartition("/")[2]
            self.save_pretrained(target, card=card)
            api.upload_folder(repo_id=repo.repo_id, folder_path=target)
        return str(repo)

    def fresh_parameters(self) -> set[str]:
        """Names of parameters that no checkpoint and no pre-trained tower filled: they have a higher learning rate."""
        if self._fresh is not None:
            return set(self._fresh)
        parts = self.towers | {f"objectives.{name}": part for name, part in self.objectives.items()}
        loaded = {f"{name}.{inner}" for name, part in parts.items() for inner in _pretrained_names(part)}
        return {name for name, _ in self.named_parameters()} - loaded

    def set_fresh_parameters(self, names: Iterable[str]) -> None:
        """Set which parameters count as new; loading a checkpoint does so."""
        self._fresh = frozenset(names) & {name for name, _ in self.named_parameters()}


def _pretrained_names(part: nn.Module) -> set[str]:
    names = getattr(part, "pretrained_names", None)
    return names() if callable(names) else set()


def local_folder(folder: str | Path, **hub: Any) -> Path:
    """A folder as it is; a repository on the hub is downloaded first, as far as models need it.

    Raises:
        CheckpointError: If it is neither.
    """
    path = Path(folder).expanduser()
    name = str(folder)
    if path.is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        return path
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"], **hub))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(
            f"{name} is no folder here, and cannot be had from the hub: {str(error).splitlines()[0]}"
        ) from error


def save_pretrained(
    model: nn.Module, folder: str | Path, tokenizer: Any = None, card: Mapping[str, Any] | None = None
) -> None:
    """Write a model into a folder, with all that is needed to build it again, and no paths of this machine.

    Args:
        model: A model that was built from configs, not from built parts; it stores them as ``arguments``.
        folder: Is made; files of an earlier model in it are replaced.
        tokenizer: Its tokenizer; the one it was built with where not given.
        card: What the model card says, as of :meth:`PretrainedModel.save_pretrained`.

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
                "is of a plugin that you trust, import that first."
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
