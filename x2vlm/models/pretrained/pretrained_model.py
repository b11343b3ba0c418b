"""The base class of models: saving, loading, uploading, and which parameters no checkpoint filled."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmengine.model import BaseModel
from torch import nn

from x2vlm.models.pretrained.hub_repository import local_folder, upload_folder
from x2vlm.models.pretrained.model_folder import load_pretrained, save_pretrained


class PretrainedModel(BaseModel):
    """A model that can be saved to a folder and loaded from it, and that records which of its parameters are new."""

    _fresh: frozenset[str] | None = None
    preprocessing: dict[str, Any] | None = None
    """How images and texts are prepared, as :class:`~x2vlm.inference.preprocessing.Preprocessing` has it; is saved."""

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
        with TemporaryDirectory() as folder:
            target = Path(folder) / repo_id.rpartition("/")[2]
            self.save_pretrained(target, card=card)
            return upload_folder(target, repo_id, private, token)

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
