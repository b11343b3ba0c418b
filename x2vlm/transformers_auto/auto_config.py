"""Transformers' AutoConfig for model folders, and the options of the hub."""

from collections.abc import Mapping, Sequence
from typing import Any

from transformers.configuration_utils import PretrainedConfig

from x2vlm.models.pretrained.model_folder import MODEL_TYPE


class X2VLMConfig(PretrainedConfig):
    """The config of a model folder.

    Attributes:
        model: The config of the model, as this library has it.
        tokenizer: That of its tokenizer; None for a model of images alone.
        preprocessing: How images and texts are prepared.
    """

    model_type = MODEL_TYPE

    def __init__(
        self,
        model: dict[str, Any] | None = None,
        tokenizer: dict[str, Any] | None = None,
        preprocessing: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.model, self.tokenizer, self.preprocessing = model, tokenizer, preprocessing
        super().__init__(**kwargs)


HUB_OPTIONS = ("revision", "token", "cache_dir", "local_files_only", "force_download")


HANDED_ON = ("config", "trust_remote_code", "code_revision", "adapter_kwargs", "subfolder")  # by the Auto classes


def hub_options(given: Mapping[str, Any], known: Sequence[str] = ()) -> dict[str, Any]:
    """Options for downloading a repository.

    Raises:
        ValueError: If there is an option that would do nothing here.
    """
    lost = [name for name in given if not name.startswith("_") and name not in (*HUB_OPTIONS, *HANDED_ON, *known)]
    if lost:
        accepted = ", ".join((*HUB_OPTIONS, *known))
        raise ValueError(f"{', '.join(lost)} would do nothing for this model. Accepted: {accepted}.")
    return {name: given[name] for name in HUB_OPTIONS if name in given}
