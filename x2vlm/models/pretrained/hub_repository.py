"""Repositories of models on the Hugging Face hub: download and upload."""

from pathlib import Path
from typing import Any

from x2vlm.weights.checkpoint_file import CheckpointError


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


def upload_folder(folder: Path, repo_id: str, private: bool = False, token: str | None = None) -> str:
    """Upload a model folder to a repository, which is made if it is not there; returns its address.

    Args:
        folder: What :func:`~x2vlm.models.pretrained.model_folder.save_pretrained` wrote.
        repo_id: ``owner/name``.
        private: Make it private.
        token: An access token; that of ``hf auth login`` if not given.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    repo = api.create_repo(repo_id, private=private, exist_ok=True)
    api.upload_folder(repo_id=repo.repo_id, folder_path=folder)
    return str(repo)
